import { readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ConnectOptions, VeripyClient } from "../../src/index.ts";
import { ApprovalDesk } from "./approval-desk.ts";
import { type CatalogueParts, CatalogueSigner, type Signed } from "./catalogue-signer.ts";
import { catalogueReport, type ScriptedModule, type ScriptedServer } from "./scripted-server.ts";

/** A scripted server with a catalogue, and clients that hold it to that. */
export class CatalogueDesk implements AsyncDisposable {
  readonly approvals: ApprovalDesk;
  readonly signer: CatalogueSigner;
  /** The `allowed_signers` file. */
  readonly signers: string;

  private constructor(approvals: ApprovalDesk, signer: CatalogueSigner, signers: string) {
    this.approvals = approvals;
    this.signer = signer;
    this.signers = signers;
  }

  static async open(modules: Record<string, ScriptedModule>): Promise<CatalogueDesk> {
    const approvals = await ApprovalDesk.open(modules);
    const folder = dirname(approvals.home);
    const signer = await CatalogueSigner.create(folder);
    const signers = join(folder, "allowed_signers");
    await writeFile(signers, await signer.line());
    return new CatalogueDesk(approvals, signer, signers);
  }

  get server(): ScriptedServer {
    return this.approvals.server;
  }

  get home(): string {
    return this.approvals.home;
  }

  /** A catalogue of what a server serves now. */
  signed(parts: CatalogueParts = {}, server = this.server): Promise<Signed> {
    return this.signer.sign({ files: filesOf(server.modules), ...parts });
  }

  /** Signs what a server serves now, and gives that to it. */
  async publish(parts: CatalogueParts = {}, server = this.server): Promise<Signed> {
    server.catalogue = await this.signed(parts, server);
    return server.catalogue;
  }

  /** Tells the clients of the catalogue that the server has now. */
  announce(): void {
    if (this.server.catalogue === undefined) throw new Error("There is no catalogue.");
    this.server.broadcast("sys:catalogue", catalogueReport(this.server.catalogue));
  }

  connect(options: ConnectOptions = {}): Promise<VeripyClient> {
    return this.approvals.connect({ signers: this.signers, ...options });
  }

  /** The arguments with which the executable is this desk's client. */
  get flags(): string[] {
    return [...this.approvals.flags, "--signers", this.signers];
  }

  async evidence(home = this.home): Promise<string[]> {
    const folder = join(home, "evidence");
    const files = await readdir(folder).catch(() => []);
    return files.filter((file) => file.endsWith(".catalogue")).map((file) => join(folder, file));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.approvals[Symbol.asyncDispose]();
  }
}

/** The files of modules, as a catalogue lists them. */
export function filesOf(modules: Record<string, ScriptedModule>): Record<string, string> {
  const entries = Object.entries(modules).flatMap(([mod, { content, files = {} }]) =>
    Object.entries({ [mod]: content, ...files }).map(([path, text]) => [`mods/${path}`, text] as const),
  );
  return Object.fromEntries(entries);
}
