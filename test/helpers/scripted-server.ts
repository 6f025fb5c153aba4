import { join } from "node:path";
import type { Identity } from "../../src/identity/identity.ts";
import type { Signed } from "./catalogue-signer.ts";
import { sha256, treeOf } from "./tools.ts";

/** A module as the scripted server has it. `files` are what it imports, by path. */
export interface ScriptedModule {
  content: string;
  files?: Record<string, string>;
}

export interface Report {
  mod: string;
  desc: string;
  sum: string;
  tree?: string;
}

export interface VerifyAnswer extends Report {
  content: string;
  files?: Array<{ path: string; content: string; sum: string }>;
}

export interface ExecAnswer {
  mod: string;
  result: string;
  sum: string;
  tree?: string;
}

/** What the server says instead of the truth: each changes the honest answer it is given. */
export interface Lies {
  sync?(modules: Report[], answer: Record<string, unknown>): void;
  verify?(answer: VerifyAnswer): void;
  exec?(answer: ExecAnswer, asked: { mod: string; tree?: string }): void;
}

/** A TLS server with the key of `<certs>/server.key` that speaks the whole protocol, and lies on request. */
export class ScriptedServer implements Disposable {
  /** Requests of these kinds, such as `mod:verify`, are answered when this promise resolves. */
  held: Record<string, Promise<void>> = {};
  /** `mod:verify {"mod":"hello.ts"}` for every request that came. */
  readonly requests: string[] = [];
  readonly modules: Record<string, ScriptedModule>;
  lies: Lies = {};
  /** The catalogue that it gives; without one, it answers as a server that has none. */
  catalogue: Signed | undefined;
  /** The answer to `sys:catalogue`, in place of the catalogue. */
  catalogueAnswer: object | undefined;
  readonly #sockets = new Set<Bun.Socket<undefined>>();
  readonly #listener: Bun.TCPSocketListener<undefined>;

  private constructor(
    modules: Record<string, ScriptedModule>,
    tls: { key: string; cert: string },
    port: number,
  ) {
    this.modules = modules;
    const rests = new Map<Bun.Socket<undefined>, string>();
    this.#listener = Bun.listen<undefined>({
      data: undefined,
      hostname: "127.0.0.1",
      port,
      tls: { ...tls, requestCert: true, rejectUnauthorized: false },
      socket: {
        open: (socket) => void this.#sockets.add(socket),
        close: (socket) => void this.#sockets.delete(socket),
        data: (socket, chunk) => {
          const parts = ((rests.get(socket) ?? "") + chunk.toString()).split("\n");
          rests.set(socket, parts.pop() ?? "");
          for (const line of parts) void this.#answer(socket, line);
        },
      },
    });
  }

  static async start(certs: string, modules: Record<string, ScriptedModule>): Promise<ScriptedServer> {
    const key = await Bun.file(join(certs, "server.key")).text();
    const cert = await Bun.file(join(certs, "server.crt")).text();
    return new ScriptedServer(modules, { key, cert }, 0);
  }

  /** One with this key, at a port that may have been another's. */
  static at(
    port: number,
    { keyPem, certificatePem }: Identity,
    modules: Record<string, ScriptedModule>,
  ): ScriptedServer {
    return new ScriptedServer(modules, { key: keyPem, cert: certificatePem }, port);
  }

  get port(): number {
    return this.#listener.port;
  }

  /** What an honest server would report. */
  report(mod: string): Report {
    const { content, files } = this.#module(mod);
    const tree = treeOf({ [mod]: content, ...files });
    return { mod, desc: "scripted", sum: sha256(content), tree };
  }

  /** `modload` for a broadcast of modules; one of another kind has its type after a colon: `sys:drain`. */
  broadcast(kind: string, payload: object): void {
    const header = kind.includes(":") ? kind : `${kind}:${kind}`;
    for (const socket of this.#sockets) send(socket, `${header}:s1 ${JSON.stringify(payload)}\n`);
  }

  /** Ends all connections. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  async #answer(socket: Bun.Socket<undefined>, line: string): Promise<void> {
    const [, header = "", ref = "", json = "{}"] = /^(\w+:\w+):(\S+) +(.*)$/.exec(line) ?? [];
    this.requests.push(`${header} ${json}`);
    const held = this.held[header];
    if (held !== undefined) await held;
    const { mod = "", tree } = JSON.parse(json) as { mod?: string; tree?: string };
    const answer = (type: string, payload: object) =>
      send(socket, `mod:${type}:${ref} ${JSON.stringify(payload)}\n`);
    if (header === "sys:info") {
      send(socket, `sys:info_resp:${ref} {"server":"scripted","protocol":1,"limits":{}}\n`);
    } else if (header === "sys:catalogue") {
      const none = { error: "there is no catalogue", code: "not_found" };
      const given = this.catalogue && { catalogue: this.catalogue.text, signature: this.catalogue.signature };
      const payload = this.catalogueAnswer ?? given ?? none;
      send(socket, `sys:catalogue_resp:${ref} ${JSON.stringify(payload)}\n`);
    } else if (header === "mod:sync") {
      const modules = Object.keys(this.modules).map((name) => this.report(name));
      const payload = { modules };
      if (this.catalogue !== undefined)
        Object.assign(payload, { catalogue: catalogueReport(this.catalogue) });
      this.lies.sync?.(modules, payload);
      answer("sync_resp", payload);
    } else if (header === "mod:stats") {
      answer("stats_resp", { modules: [] });
    } else if (header === "mod:verify") {
      const { content, files = {} } = this.#module(mod);
      const listed = Object.entries(files).map(([path, text]) => ({
        path,
        content: text,
        sum: sha256(text),
      }));
      const payload: VerifyAnswer = { ...this.report(mod), content, files: listed };
      this.lies.verify?.(payload);
      answer("verify_resp", payload);
    } else if (header === "mod:exec") {
      const { desc: _, ...report } = this.report(mod);
      const payload: ExecAnswer = { ...report, result: "it ran" };
      this.lies.exec?.(payload, tree === undefined ? { mod } : { mod, tree });
      answer("exec_resp", payload);
    }
  }

  #module(mod: string): ScriptedModule {
    const found = this.modules[mod];
    if (found === undefined) throw new Error(`The scripted server has no module '${mod}'.`);
    return found;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}

/** What a server says of its catalogue in the answer to a sync, and in the broadcast of a new one. */
export function catalogueReport({ text }: Signed): { serial: number; sum: string } {
  return { serial: Number(/^# serial (\d+)$/m.exec(text)?.[1]), sum: sha256(text) };
}

/** Frames here are small, so a socket that does not take one is a fault of the test. */
function send(socket: Bun.Socket<undefined>, line: string): void {
  if (socket.write(line) !== Buffer.byteLength(line))
    throw new Error("The socket did not take a whole frame.");
}
