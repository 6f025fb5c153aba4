import { sha256Hex } from "../../src/base/sha256.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { treeSum } from "../../src/modules/tree.ts";

const content = "export const execute = (args: string) => args;\n";
const mods = ["echo.ts", "other.ts"];
/** What an honest server reports. */
export const servedModules = mods.map((mod) => {
  const sum = sha256Hex(content);
  return { mod, desc: "says what it is told", sum, tree: treeSum([{ path: mod, sum }]) };
});

/** The connection that a request came over. */
export interface Asker {
  /** Lines that came before this one. */
  readonly linesBefore: number;
  /** What a full socket does not take is not sent: one more way of not answering. */
  write(data: string | Uint8Array): void;
  end(): void;
  terminate(): void;
}

/** Gives what is written in answer to one request line: right, wrong, several or nothing. */
export type Script = (line: string, asker: Asker) => string | Uint8Array;

/** A TLS server whose every word comes from a script. */
export class AnsweringServer implements Disposable {
  script: Script = honestFrame;
  readonly #listener: Bun.TCPSocketListener<{ rest: string; lines: number }>;

  constructor({ keyPem, certificatePem }: Identity) {
    this.#listener = Bun.listen<{ rest: string; lines: number }>({
      hostname: "127.0.0.1",
      port: 0,
      tls: { key: keyPem, cert: certificatePem, requestCert: true, rejectUnauthorized: false },
      socket: {
        open: (socket) => {
          socket.data = { rest: "", lines: 0 };
        },
        data: (socket, chunk) => {
          const lines = (socket.data.rest + chunk.toString()).split("\n");
          socket.data.rest = lines.pop() ?? "";
          for (const line of lines) {
            const asker: Asker = {
              linesBefore: socket.data.lines,
              write: (data) => void socket.write(data),
              end: () => socket.end(),
              terminate: () => socket.terminate(),
            };
            socket.data.lines += 1;
            const answer = this.script(line, asker);
            if (answer.length > 0) socket.write(answer);
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
