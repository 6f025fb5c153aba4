import { sha256Hex } from "../../src/base/sha256.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { treeSum } from "../../src/modules/tree.ts";
import { within } from "../helpers/within.ts";
import { mutateText, valueText } from "./payloads.ts";
import type { Random } from "./random.ts";
import type { Report } from "./report.ts";

const content = "export const execute = (args: string) => args;\n";
const mods = ["echo.ts", "other.ts"];
const reports = mods.map((mod) => {
  const sum = sha256Hex(content);
  return { mod, desc: "says what it is told", sum, tree: treeSum([{ path: mod, sum }]) };
});

/** Writes the answer to one request line: right, wrong, several or none. */
export type Script = (line: string, isFirst: boolean) => string | Uint8Array;

/** A TLS server whose every word comes from a script. */
export class AnsweringServer implements Disposable {
  script: Script = () => "";
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
            // What a full socket does not take is one more way of not answering.
            socket.write(this.script(line, socket.data.lines === 0));
            socket.data.lines += 1;
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
  const report = reports.find((each) => each.mod === mod);
  if (api === "sys" && type === "ping") return { type: "sys:pong", ref, payload: {} };
  if (api === "sys") return { type: "sys:info_resp", ref, payload: { server: "x", protocol: 1, limits: {} } };
  if (type === "sync") return { type: "mod:sync_resp", ref, payload: { modules: reports } };
  if (type === "stats") return { type: "mod:stats_resp", ref, payload: { modules: [] } };
  if (type === "verify") return { type: "mod:verify_resp", ref, payload: { ...report, content, files: [] } };
  if (type === "cancel") return { type: "sys:pong", ref: "unasked", payload: {} };
  return { type: "mod:exec_resp", ref, payload: { ...report, result: args } };
}

/** An answer with something wrong, or with more than was asked. */
function mutatedAnswer(random: Random, line: string): string | Uint8Array {
  const { type, ref, payload } = honestAnswer(line);
  const frame = (header: string, json: string, to = ref) => `${header}:${to} ${json}\n`;
  const honest = frame(type, JSON.stringify(payload));
  const way = random.integer(0, 13);
  if (way === 0) return frame(type, mutateText(random, JSON.stringify(payload)));
  if (way === 1)
    return frame(
      type,
      `{${Object.entries(payload)
        .map(
          ([key, value]) =>
            `${JSON.stringify(key)}:${random.chance(0.4) ? valueText(random) : JSON.stringify(value)}`,
        )
        .join(",")}}`,
    );
  if (way === 2) return honest + honest;
  if (way === 3)
    return frame(type, JSON.stringify(payload), random.text(random.pick([1, 3, 64]), "0123456789abc"));
  if (way === 4)
    return frame(
      random.pick(["mod:sync_resp", "mod:exec_resp", "mod:exec_part", "sys:pong", "mod:error", "x:y_resp"]),
      JSON.stringify(payload),
    );
  if (way === 5)
    return frame(
      type,
      random.chance(0.5)
        ? '{"error":"no","code":"busy"}'
        : `{"error":${valueText(random)},"code":${valueText(random)}}`,
    );
  if (way === 6)
    return (
      frame(
        "mod:exec_part",
        `{"seq":${random.pick(["0", "1", "-1", "1e99", valueText(random)])},"data":"x"}`,
      ) + honest
    );
  if (way === 7) return frame("mod:exec_progress", `{"fraction":${valueText(random)}}`) + honest;
  if (way === 8) return broadcast(random) + honest;
  if (way === 9)
    return (
      honest +
      frame(
        `sys:${random.pick(["ping", "drain", "resync", "error", "pong", "x"])}`,
        valueText(random).startsWith("{") ? "{}" : '{"error":"x"}',
        "-",
      )
    );
  if (way === 10) return "";
  // What ends a connection is rarer, so that the others get far.
  if (way === 11 && random.chance(0.2))
    return random.pick(["x\n", "\n", "mod:sync_resp:1 []\n", "HTTP/1.1 200 OK\r\n\r\n"]);
  if (way === 12 && random.chance(0.2))
    return Uint8Array.from([...random.bytes(random.integer(1, 200)), 0x0a]);
  if (way === 13 && random.chance(0.3)) return honest.slice(0, random.integer(0, honest.length - 1));
  return honest;
}

function broadcast(random: Random): string {
  const kind = random.pick(["modload", "modreload", "modunload", "moderror"]);
  const report = {
    ...random.pick(reports),
    ...(random.chance(0.5) ? { sum: "0".repeat(random.pick([63, 64])) } : {}),
  };
  const json = random.chance(0.7)
    ? JSON.stringify(kind === "moderror" ? { mod: "echo.ts", error: "broken" } : report)
    : `{"mod":${valueText(random)}}`;
  return `${kind}:${kind}:s1 ${json}\n`;
}

/** Mutated answers to a client until `count` of them were given. Gives how many calls of the client there were. */
export async function fuzzAnswers(
  random: Random,
  count: number,
  keys: { server: Identity; client: Identity; certsDir: string },
  report: Report,
): Promise<{ answers: number; calls: number }> {
  using server = new AnsweringServer(keys.server);
  let answers = 0;
  let calls = 0;
  server.script = (line, isFirst) => {
    // Without a first answer nothing of a client can be tried; now and then even that is wrong.
    if (isFirst && !random.chance(0.02)) return frameOf(honestAnswer(line));
    answers += 1;
    return mutatedAnswer(random, line);
  };
  const unhandled = (error: unknown) => report.violation(`an unhandled rejection in the client: ${error}`);
  process.on("unhandledRejection", unhandled);
  try {
    while (answers < count) {
      report.progress(() => `${answers} mutated answers`);
      calls += await oneClient(random, server.port, keys, report);
    }
  } finally {
    process.off("unhandledRejection", unhandled);
  }
  return { answers, calls };
}

function frameOf({ type, ref, payload }: ReturnType<typeof honestAnswer>): string {
  return `${type}:${ref} ${JSON.stringify(payload)}\n`;
}

async function oneClient(
  random: Random,
  port: number,
  keys: { server: Identity; client: Identity; certsDir: string },
  report: Report,
): Promise<number> {
  let client: VeripyClient;
  try {
    client = await within(
      10_000,
      "a connection to succeed or fail",
      connect({
        host: "127.0.0.1",
        port,
        certsDir: keys.certsDir,
        identity: keys.client,
        serverFingerprint: keys.server.fingerprint,
        timeoutMs: 300,
      }),
    );
  } catch (error) {
    if (!(error instanceof VeripyError)) report.violation(`connect failed with ${error}`);
    return 1;
  }
  const begun: Promise<unknown>[] = [];
  for (let call = 0; call < 150; call++) {
    begun.push(
      begin(random, client).then(undefined, (error) => {
        if (!(error instanceof VeripyError))
          report.violation(`a call failed with ${error instanceof Error ? error.stack : error}`);
      }),
    );
    if (random.chance(0.3)) await Bun.sleep(0);
    if (random.chance(0.002)) client.close();
  }
  await Bun.sleep(1);
  if (random.chance(0.5)) client.close();
  try {
    await within(20_000, "every call of a client to end", Promise.all(begun));
  } catch (error) {
    report.violation(String(error));
  }
  client.close();
  return begun.length;
}

async function begin(random: Random, client: VeripyClient): Promise<unknown> {
  const mod = random.pick([...mods, "missing.ts"]);
  const way = random.integer(0, 7);
  if (way === 0) return client.sync();
  if (way === 1) return client.stats();
  if (way === 2) return client.info();
  if (way === 3) return client.ping();
  if (way === 4) return client.verify(mod);
  if (way === 5) return client.verifyAll();
  return client.exec(mod, "x", {
    timeoutMs: 300,
    ...(random.chance(0.1) ? { signal: AbortSignal.timeout(random.integer(0, 5)) } : {}),
    ...(random.chance(0.5) ? { onPart: () => {} } : {}),
  });
}
