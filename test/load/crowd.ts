import type { Identity } from "../../src/identity/identity.ts";
import { connect, type VeripyClient } from "../../src/index.ts";
import { newIdentity } from "../helpers/keys.ts";
import { type FromCrowd, type Heard, nowMs, type ToCrowd } from "./messages.ts";

/** Many clients in one process, each with a key of its own; led over IPC: `bun crowd.ts CLIENTS`. */
const size = Number(process.argv[2]);
const activeEvery = 10;
const callEveryMs = 1_000;

const identities: Identity[] = [];
for (let index = 0; index < size; index++)
  identities.push(await newIdentity(`crowd ${process.pid} ${index}`));
const clients: VeripyClient[] = [];
const failures: string[] = [];
const latenciesMs: number[] = [];
const news: Record<string, Heard> = {};
let isOver = false;

const tell = (message: FromCrowd) => process.send?.(message);

process.on("message", (message: ToCrowd) => {
  if (message.kind === "connect") void connectAll(message).then(() => tell({ kind: "connected" }));
  else if (message.kind === "work")
    for (let index = 0; index < size; index += activeEvery) void work(clients[index]);
  else finish();
});
tell({ kind: "keys", fingerprints: identities.map(({ fingerprint }) => fingerprint) });

async function connectAll(where: Extract<ToCrowd, { kind: "connect" }>): Promise<void> {
  const waiting = [...identities];
  const one = async (): Promise<void> => {
    for (let identity = waiting.pop(); identity !== undefined; identity = waiting.pop()) {
      try {
        clients.push(await open(identity, where));
      } catch (error) {
        failures.push(`connect: ${error}`);
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, one));
}

async function open(identity: Identity, where: Extract<ToCrowd, { kind: "connect" }>): Promise<VeripyClient> {
  const { port, serverFingerprint, certsDir } = where;
  const client = await connect({
    host: "127.0.0.1",
    port,
    identity,
    serverFingerprint,
    certsDir,
    timeoutMs: 60_000,
  });
  client.on("news", (item) => {
    if (item.kind !== "modreload") return;
    const now = nowMs();
    const heard = news[item.report.sum];
    if (heard === undefined) news[item.report.sum] = { clients: 1, firstAt: now, lastAt: now };
    else {
      heard.clients += 1;
      heard.lastAt = now;
    }
  });
  client.on("disconnected", ({ reason }) => {
    if (!isOver) failures.push(`disconnected: ${reason.message}`);
  });
  return client;
}

/** Calls once a second, not all clients in one moment. */
async function work(client: VeripyClient | undefined): Promise<void> {
  await Bun.sleep(Math.random() * callEveryMs);
  while (!isOver && client !== undefined) {
    const startedAt = performance.now();
    try {
      await client.exec("echo.ts", "x".repeat(100));
      latenciesMs.push(performance.now() - startedAt);
    } catch (error) {
      failures.push(`call: ${error}`);
    }
    await Bun.sleep(callEveryMs);
  }
}

function finish(): void {
  isOver = true;
  tell({
    kind: "account",
    account: { calls: latenciesMs.length, failures: failures.slice(0, 20), latenciesMs, news },
  });
  for (const client of clients) client.close();
  setTimeout(() => process.exit(0), 500);
}
