import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Lock, parseLock } from "../../src/approvals/lock.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { trustServer } from "../../src/trust/trust-server.ts";
import { newIdentity } from "./keys.ts";
import { type ScriptedModule, ScriptedServer } from "./scripted-server.ts";
import { temporaryDirectory } from "./temporary.ts";
import { treeOf } from "./tools.ts";

/** A module that says what it is. */
export function source(text: string): ScriptedModule {
  return { content: `export const execute = () => ${JSON.stringify(text)};\n` };
}

/** The tree of a module without imports. */
export function treeOfModule(mod: string, { content, files }: ScriptedModule): string {
  return treeOf({ [mod]: content, ...files });
}

/** A home with a lock, a scripted server, and clients that hold it to the lock. */
export class ApprovalDesk implements AsyncDisposable {
  readonly home: string;
  readonly lock: string;
  readonly certs: string;
  readonly identity: Identity;
  readonly server: ScriptedServer;
  readonly #client: Identity;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(
    path: string,
    identities: { server: Identity; client: Identity },
    server: ScriptedServer,
    cleanup: AsyncDisposableStack,
  ) {
    this.home = join(path, "home");
    this.lock = join(this.home, "veripy.lock");
    this.certs = join(path, "certs");
    this.identity = identities.server;
    this.server = server;
    this.#client = identities.client;
    this.#cleanup = cleanup;
  }

  static async open(modules: Record<string, ScriptedModule>): Promise<ApprovalDesk> {
    const cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await temporaryDirectory());
    const identities = { server: await newIdentity("server"), client: await newIdentity("client") };
    const server = cleanup.use(ScriptedServer.at(0, identities.server, modules));
    const desk = new ApprovalDesk(path, identities, server, cleanup);
    await mkdir(desk.certs);
    await writeFile(join(desk.certs, "client.key"), identities.client.keyPem, { mode: 0o600 });
    await writeFile(join(desk.certs, "client.crt"), identities.client.certificatePem);
    await desk.trust(desk.server.port, desk.identity);
    return desk;
  }

  /** Expects this key there, and no other: what `veripy-client trust-server` does. */
  async trust(port: number, { fingerprint }: Identity): Promise<void> {
    await trustServer({ certsDir: this.certs, host: "127.0.0.1", port }, fingerprint);
  }

  /** Another server, with a key of its own unless one is given, which ends with the desk. */
  async serve(
    modules: Record<string, ScriptedModule>,
    { port = 0, identity }: { port?: number; identity?: Identity } = {},
  ): Promise<{ server: ScriptedServer; identity: Identity }> {
    const own = identity ?? (await newIdentity("server"));
    return { server: this.#cleanup.use(ScriptedServer.at(port, own, modules)), identity: own };
  }

  /** Connects with the home and its lock. Clients are closed with the desk. */
  async connect(options: ConnectOptions = {}): Promise<VeripyClient> {
    const client = await connect({
      host: "127.0.0.1",
      port: this.server.port,
      identity: this.#client,
      certsDir: this.certs,
      home: this.home,
      lock: this.lock,
      timeoutMs: 2_000,
      ...options,
    });
    this.#cleanup.defer(() => client.close());
    return client;
  }

  /** Connects, verifies and approves these modules, and closes again. */
  async approve(mods: readonly string[], options: ConnectOptions = {}): Promise<void> {
    using client = await this.connect(options);
    for (const mod of mods) await approve(client, mod);
    await client.approvals.settled();
  }

  /** The arguments with which the executable is this desk's client. */
  get flags(): string[] {
    return [
      "--host",
      "127.0.0.1",
      "--port",
      String(this.server.port),
      "--home",
      this.home,
      "--certs",
      this.certs,
    ];
  }

  async locked(path = this.lock): Promise<Lock> {
    return parseLock(await Bun.file(path).text(), path);
  }

  /** How often a request of this kind has come. */
  asked(kind: string, server = this.server): number {
    return server.requests.filter((one) => one.startsWith(`${kind} `)).length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}

/** Approves what the module is now. */
export async function approve(client: VeripyClient, mod: string): Promise<void> {
  const verdict = await client.verify(mod);
  if (!verdict.verified) throw new Error(`${mod} was not verified.`);
  await client.approvals.approve(verdict);
}

/** `ok`, or the code of the failure. */
export async function ended(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    if (error instanceof VeripyError) return error.code;
    throw error;
  }
}
