import { sha256Hex } from "../../src/base/sha256.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { treeSum } from "../../src/protocol/tree.ts";
import { Outbox } from "./outbox.ts";

const content = "export const execute = (args: string) => args;\n";
const mods = ["echo.ts", "other.ts"];
/** The modules that an honest server reports. */
export const servedModules = mods.map((mod) => {
  const sum = sha256Hex(content);
  return { mod, desc: "says what it is told", sum, tree: treeSum([{ path: mod, sum }]) };
});

/** The connection on which a request arrived. */
export interface Asker {
  /** The number of lines before this one. */
  readonly linesBefore: number;
  write(data: string | Uint8Array): void;
  /** Bytes that the client has not taken yet. */
  readonly unsentBytes: number;
  end(): void;
  terminate(): void;
}

/** Answers a request line: rightly, wrongly, several times or not at all. */
export type Script = (line: string, asker: Asker) => string | Uint8Array;

/** A TLS server that says only what a script tells it to. */
export class AnsweringServer implements Disposable {
  script: Script = honestFrame;
  readonly #listener: Bun.TCPSocketListener<Told>;

  constructor({ keyPem, certificatePem }: Identity) {
    this.#listener = Bun.listen<Told>({
      hostname: "127.0.0.1",
      port: 0,
      tls: { key: keyPem, cert: certificatePem, requestCert: true, rejectUnauthorized: false },
      socket: {
        open: (socket) => {
          socket.data = { rest: "", lines: 0, outbox: new Outbox() };
        },
        drain: (socket) => socket.data.outbox.flush(socket),
        data: (socket, chunk) => {
          const lines = (socket.data.rest + chunk.toString()).split("\n");
          socket.data.rest = lines.pop() ?? "";
          for (const line of lines) {
            const asker = askerAt(socket);
            socket.data.lines += 1;
            asker.write(this.script(line, asker));
          }
        },
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}

interface Told {
  rest: string;
  lines: number;
  readonly outbox: Outbox;
}

function askerAt(socket: Bun.Socket<Told>): Asker {
  const { lines, outbox } = socket.data;
  return {
    linesBefore: lines,
    get unsentBytes() {
      return outbox.bytes;
    },
    write: (data) => {
      outbox.add(data);
      outbox.flush(socket);
    },
    end: () => socket.end(),
    terminate: () => socket.terminate(),
  };
}

/** The right answer to a request line. */
export function honestAnswer(line: string): { type: string; ref: string; payload: object } {
  const [, api = "", type = "", ref = "", json = "{}"] = /^(\w+):(\w+):(\S+) (.*)$/.exec(line) ?? [];
  const { mod = "", args = "" } = JSON.parse(json) as { mod?: string; args?: string };
  const report = servedModules.find((each) => each.mod === mod);
  if (api === "sys" && type === "ping") return { type: "sys:pong", ref, payload: {} };
  if (api === "sys") return { type: "sys:info_resp", ref, payload: { server: "x", protocol: 1, limits: {} } };
  if (type === "sync") return { type: "mod:sync_resp", ref, payload: { modules: servedModules } };
  if (type === "stats") return { type: "mod:stats_resp", ref, payload: { modules: [] } };
  if (type === "verify") return { type: "mod:verify_resp", ref, payload: { ...report, content, files: [] } };
  if (type === "cancel") return { type: "sys:pong", ref: "unasked", payload: {} };
  return { type: "mod:exec_resp", ref, payload: { ...report, result: args } };
}

/** The right answer as a line. */
export function honestFrame(line: string): string {
  const { type, ref, payload } = honestAnswer(line);
  return `${type}:${ref} ${JSON.stringify(payload)}\n`;
}
