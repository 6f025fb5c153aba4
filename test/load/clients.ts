import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Subprocess } from "bun";
import { sha256Hex } from "../../src/base/sha256.ts";
import { connect, loadIdentity } from "../../src/index.ts";
import { trust } from "../helpers/keys.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, rssOf, vitalsOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { quantile } from "../soak/windows.ts";
import { type Account, type FromCrowd, nowMs, type ToCrowd } from "./messages.ts";

/**
 * Thousands of connected clients, each with a trusted key of its own, one in ten of them calling once a second,
 * while a module is edited: `bun run load [--clients 5000] [--edits 10]`. Exits with 1 when a client can't
 * connect, loses its connection, misses a broadcast, or has a call that fails.
 */
const { values } = parseArgs({
  options: { clients: { type: "string", default: "5000" }, edits: { type: "string", default: "10" } },
});
const clients = Number(values.clients);
const edits = Number(values.edits);
const crowdSize = 1_250;

if (descriptorLimit() < clients + 500) raiseDescriptorLimit();

const violations: string[] = [];
await using site = await Site.create({
  "echo.ts": "export const execute = (args: string) => args;\n",
  "edited.ts": editedModule(0),
});

console.log(`making ${clients} keys`);
const crowds = Array.from({ length: Math.ceil(clients / crowdSize) }, (_, index) =>
  startCrowd(Math.min(crowdSize, clients - index * crowdSize)),
);
for (const crowd of crowds) await trust(site, ...(await crowd.next("keys")).fingerprints);

await using server = await site.start([
  ...["--handshake-rate", "1000000", "--handshake-burst", "1000000", "--max-handshakes-per-address", "1000"],
]);
const { pid } = server.process;
// What the first client makes the server load is not a cost of each.
using first = await connect({ host: "127.0.0.1", port: site.port, certsDir: site.certs });
await first.exec("echo.ts", "x");
await Bun.sleep(3_000);
const before = rssOf(pid);

const serverFingerprint = (await loadIdentity(site.certs, "server")).fingerprint;
const startedAt = performance.now();
for (const crowd of crowds)
  crowd.tell({ kind: "connect", port: site.port, serverFingerprint, certsDir: site.certs });
await Promise.all(crowds.map((crowd) => crowd.next("connected")));
const connectSeconds = (performance.now() - startedAt) / 1_000;
await Bun.sleep(8_000);
const connected = rssOf(pid);
const perConnection = (connected - before) / clients;
console.log(
  `${clients} connected in ${connectSeconds.toFixed(1)} s; server memory ${mebibytes(before)} -> ${mebibytes(connected)}: ${(perConnection / 1024).toFixed(1)} KiB each, ${vitalsOf(pid).descriptors} descriptors`,
);

for (const crowd of crowds) crowd.tell({ kind: "work" });
await Bun.sleep(3_000);
const written = new Map<string, number>();
for (let edit = 1; edit <= edits; edit++) {
  written.set(sha256Hex(editedModule(edit)), nowMs());
  await site.write("edited.ts", editedModule(edit));
  await Bun.sleep(2_000);
}
const atWork = rssOf(pid);
for (const crowd of crowds) crowd.tell({ kind: "finish" });
const accounts = await Promise.all(crowds.map(async (crowd) => (await crowd.next("account")).account));
judge(accounts);
await server[Symbol.asyncDispose]();
await site[Symbol.asyncDispose]();
process.exit(violations.length === 0 ? 0 : 1);

function judge(all: readonly Account[]): void {
  violations.push(...all.flatMap(({ failures }) => failures));
  const firsts: number[] = [];
  const lasts: number[] = [];
  for (const [sum, writtenAt] of written) {
    const heard = all.flatMap(({ news }) => news[sum] ?? []);
    const told = heard.reduce((count, each) => count + each.clients, 0);
    if (told !== clients) violations.push(`${told} of ${clients} clients were told of an edit`);
    firsts.push(Math.min(...heard.map(({ firstAt }) => firstAt)) - writtenAt);
    lasts.push(Math.max(...heard.map(({ lastAt }) => lastAt)) - writtenAt);
  }
  const latencies = all.flatMap(({ latenciesMs }) => [...latenciesMs]);
  if (latencies.length === 0) violations.push("no call succeeded");
  console.log(
    [
      `load: ${clients} clients, ${(perConnection / 1024).toFixed(1)} KiB of server memory each, connected in ${connectSeconds.toFixed(1)} s`,
      `server memory ${mebibytes(before)} -> ${mebibytes(connected)} -> ${mebibytes(atWork)} at work`,
      `${latencies.length} calls, p50 ${quantile(latencies, 0.5).toFixed(1)} ms, p99 ${quantile(latencies, 0.99).toFixed(1)} ms`,
      `${written.size} edits, from the write to the first client ${quantile(firsts, 0.5).toFixed(0)} ms (worst ${Math.max(...firsts).toFixed(0)}), to the last ${quantile(lasts, 0.5).toFixed(0)} ms (worst ${Math.max(...lasts).toFixed(0)})`,
      `violations ${violations.length}`,
    ].join("; "),
  );
  for (const violation of violations.slice(0, 10)) console.error(`VIOLATION ${violation}`);
}

function editedModule(edit: number): string {
  return `export const execute = () => "edit ${edit}";\n`;
}

interface Crowd {
  tell(message: ToCrowd): void;
  next<K extends FromCrowd["kind"]>(kind: K): Promise<Extract<FromCrowd, { kind: K }>>;
}

function startCrowd(size: number): Crowd {
  const messages: FromCrowd[] = [];
  const child: Subprocess = Bun.spawn([process.execPath, `${import.meta.dir}/crowd.ts`, String(size)], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc: (message: FromCrowd) => void messages.push(message),
  });
  return {
    tell: (message) => void child.send(message),
    next: (kind) =>
      eventually(
        `a crowd's '${kind}'`,
        () =>
          messages.find(
            (message): message is Extract<FromCrowd, { kind: typeof kind }> => message.kind === kind,
          ),
        300_000,
      ),
  };
}

function descriptorLimit(): number {
  const limits = readFileSync("/proc/self/limits", "latin1");
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0);
}

/** Runs this program again with as many descriptors as it may have. */
function raiseDescriptorLimit(): never {
  const again = [process.execPath, ...process.argv.slice(1)];
  const script = `ulimit -n $(ulimit -Hn) && [ $(ulimit -n) -ge ${clients + 500} ] && exec "$@"; echo "too few descriptors are allowed: $(ulimit -Hn)" >&2; exit 1`;
  const { exitCode } = Bun.spawnSync(["sh", "-c", script, "sh", ...again], {
    stdio: ["inherit", "inherit", "inherit"],
  });
  process.exit(exitCode);
}
