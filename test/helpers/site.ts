import { afterAll } from "bun:test";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { binaries } from "./binaries.ts";
import { type Ended, Running, type RunOptions, run } from "./processes.ts";
import { temporaryDirectory } from "./temporary.ts";
import { eventually } from "./within.ts";

/** A directory with keys, a trust file and modules, in which the two executables run. */
export class Site implements AsyncDisposable {
  readonly path: string;
  readonly server: string;
  readonly client: string;
  readonly #directory: AsyncDisposable;
  readonly #running: Running[] = [];
  #port = 0;

  private constructor(
    directory: { path: string } & AsyncDisposable,
    built: { server: string; client: string },
  ) {
    this.path = directory.path;
    this.server = built.server;
    this.client = built.client;
    this.#directory = directory;
  }

  /** Runs `veripy-server init` in a new directory, and puts the given modules into `mods/`. */
  static async create(modules: Record<string, string> = {}): Promise<Site> {
    const site = new Site(await temporaryDirectory(), await binaries());
    const { exitCode, stderr } = await run([site.server, "init"], { cwd: site.path });
    if (exitCode !== 0) throw new Error(`init failed: ${stderr}`);
    for (const [name, text] of Object.entries(modules)) await site.write(name, text);
    return site;
  }

  get port(): number {
    return this.#port;
  }

  /** The folder of the keys that `init` made. */
  get certs(): string {
    return join(this.path, "certs");
  }

  /** Creates another client in a folder of its own, which trusts the server; the server does not trust it yet. */
  async newClient(name: string): Promise<{ certs: string; fingerprint: string }> {
    const certs = join(this.path, name);
    const { stdout, stderr, exitCode } = await run([this.client, "init", "--certs", certs, "--json"]);
    if (exitCode !== 0) throw new Error(`veripy-client init failed: ${stderr}`);
    await copyFile(join(this.certs, "server.crt"), join(certs, "server.crt"));
    return { certs, fingerprint: (JSON.parse(stdout) as { fingerprint: string }).fingerprint };
  }

  /** Runs `veripy-server` to its end. */
  async manage(args: string[], options: RunOptions = {}): Promise<Ended> {
    return run([this.server, ...args], { cwd: this.path, ...options });
  }

  /** Writes a file below `mods/`. */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const path = join(this.path, "mods", name);
    await mkdir(join(path, ".."), { recursive: true });
    await Bun.write(path, content);
  }

  /**
   * Starts `veripy-server` on a free port, and waits until it listens. Its modules' temporary folders are below the
   * site's, so that a process that is left is found there.
   */
  async start(flags: string[] = [], env?: Record<string, string>, withinMs = 10_000): Promise<Running> {
    const command = [this.server, "--port", String(this.#port), "--json", ...flags];
    const temporary = join(this.path, ".temporary");
    await mkdir(temporary, { recursive: true });
    const own = { TMPDIR: temporary, ...(env ?? withoutTemporary()) };
    const server = new Running(command, { cwd: this.path, env: own });
    this.#running.push(server);
    const line = await server.line('"port":', withinMs);
    this.#port = (JSON.parse(line) as { port: number }).port;
    return server;
  }

  /** Runs `veripy-client` to its end. */
  async call(args: string[], options: RunOptions = {}): Promise<Ended> {
    return run([this.client, ...this.#portFlag, ...args], { cwd: this.path, ...options });
  }

  /** Starts `veripy-client` and leaves it running; `watch` is its default command. */
  watch(args: string[] = []): Running {
    const client = new Running([this.client, ...this.#portFlag, ...args], { cwd: this.path });
    this.#running.push(client);
    return client;
  }

  /** Runs a command that a message advised, in a shell that finds both executables. */
  type(command: string, cwd = this.path): Promise<Ended> {
    return run(["sh", "-c", command], { cwd, env: { PATH: `${dirname(this.server)}:${process.env.PATH}` } });
  }

  /** Trusts a key, and waits until the server lets its client in. */
  async admit(
    { certs, fingerprint }: { certs: string; fingerprint: string },
    ...flags: string[]
  ): Promise<void> {
    const { exitCode, stderr } = await this.manage(["trust", fingerprint, ...flags]);
    if (exitCode !== 0) throw new Error(`veripy-server trust failed: ${stderr}`);
    await this.admitted(certs);
  }

  /** Waits until the server lets a client in. */
  async admitted(certs: string): Promise<void> {
    await eventually("the client to be let in", async () => {
      return (await this.call(["--certs", certs, "list"])).exitCode === 0;
    });
  }

  /** Empty if no server was started here: then the call itself must say where to connect. */
  get #portFlag(): string[] {
    return this.#port === 0 ? [] : ["--port", String(this.#port)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map((process) => process[Symbol.asyncDispose]()));
    await this.#directory[Symbol.asyncDispose]();
  }
}

function withoutTemporary(): Record<string, string> {
  const entries = Object.entries(process.env).filter(([name]) => name !== "TMPDIR");
  return Object.fromEntries(entries) as Record<string, string>;
}

/** A site whose server runs for all tests of a file. Await it at the top of the file. */
export async function servedSite(): Promise<{ site: Site; server: Running }> {
  const site = await Site.create();
  afterAll(() => site[Symbol.asyncDispose]());
  return { site, server: await site.start() };
}
