import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Sha256Hex } from "../../src/base/sha256.ts";
import { type Catalogue, formatCatalogue } from "../../src/catalogue/catalogue.ts";
import { run } from "./processes.ts";
import { sha256 } from "./tools.ts";

/** A catalogue's text and its signature. */
export interface Signed {
  readonly text: string;
  readonly signature: string;
}

/** The parts of a catalogue that a test cares about. */
export interface CatalogueParts extends Partial<Omit<Catalogue, "files">> {
  /** Contents by path, such as `mods/a.ts`. */
  readonly files?: Readonly<Record<string, string>>;
}

/** The text of a catalogue: `prod`, serial 1, issued now, unless something else is said. */
export function catalogueText({ files = {}, ...rest }: CatalogueParts = {}): string {
  const sums = Object.entries(files).map(([path, text]) => [path, sha256(text) as Sha256Hex] as const);
  return formatCatalogue({
    name: "prod",
    serial: 1,
    issued: timeIn(0),
    expires: undefined,
    servers: [],
    files: new Map(sums),
    ...rest,
  });
}

/** A time in UTC, so many milliseconds from now. */
export function timeIn(ms: number): string {
  return `${new Date(Date.now() + ms).toISOString().slice(0, 19)}Z`;
}

/** A key of `ssh-keygen`, and what it signs. */
export class CatalogueSigner {
  readonly #folder: string;
  readonly #key: string;

  private constructor(folder: string, key: string) {
    this.#folder = folder;
    this.#key = key;
  }

  static async create(folder: string, key = "signer"): Promise<CatalogueSigner> {
    await keygen(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", key], folder);
    return new CatalogueSigner(folder, key);
  }

  /** The key's file. */
  get path(): string {
    return join(this.#folder, this.#key);
  }

  /** The line of an `allowed_signers` file. */
  async line(principal = "ops@example"): Promise<string> {
    return `${principal} ${await readFile(`${this.path}.pub`, "utf8")}`;
  }

  async sign(parts: CatalogueParts | string, namespace = "catalogue@veripy"): Promise<Signed> {
    const text = typeof parts === "string" ? parts : catalogueText(parts);
    const file = join(this.#folder, `${crypto.randomUUID()}.catalogue`);
    await writeFile(file, text);
    await keygen(["-Y", "sign", "-q", "-f", this.#key, "-n", namespace, file], this.#folder);
    return { text, signature: await readFile(`${file}.sig`, "utf8") };
  }
}

/** What `ssh-keygen -Y verify` says of a catalogue in a file, with its signature beside it. */
export async function sshVerify(file: string, signers: string, principal = "ops@example"): Promise<boolean> {
  const command = `ssh-keygen -Y verify -f "$1" -I "$2" -n catalogue@veripy -s "$3.sig" < "$3"`;
  const { exitCode } = await run(["sh", "-c", command, "sh", signers, principal, file], {});
  return exitCode === 0;
}

async function keygen(args: string[], cwd: string): Promise<void> {
  const { exitCode, stderr } = await run(["ssh-keygen", ...args], { cwd });
  if (exitCode !== 0) throw new Error(`ssh-keygen failed: ${stderr}`);
}
