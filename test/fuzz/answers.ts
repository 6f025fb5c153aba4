import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { AnsweringServer, honestAnswer, honestFrame, servedModules } from "../helpers/answering-server.ts";
import { within } from "../helpers/within.ts";
import { mutateText, valueText } from "./payloads.ts";
import type { Random } from "./random.ts";
import type { Report } from "./report.ts";

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
    ...random.pick(servedModules),
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
  server.script = (line, { linesBefore }) => {
    // A client gets nowhere without a first answer, so this is seldom a wrong one.
    if (linesBefore === 0 && !random.chance(0.02)) return honestFrame(line);
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
  const mod = random.pick(["echo.ts", "other.ts", "missing.ts"]);
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
