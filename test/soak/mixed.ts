import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Identity } from "../../src/identity/identity.ts";
import { type ConnectOptions, connect, type VeripyClient, VeripyError } from "../../src/index.ts";
import { attacks, captureClientHello, type Target } from "../fuzz/connections.ts";
import { Random } from "../fuzz/random.ts";
import { Report } from "../fuzz/report.ts";
import { clientOf, newIdentity } from "../helpers/keys.ts";
import { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { python, pythonFixture } from "../helpers/tools.ts";
import { mebibytes, vitalsOf } from "../helpers/vitals.ts";
import { within } from "../helpers/within.ts";
import { BadLinks, onceModule } from "./bad-links.ts";
import { changingModule, soakModules } from "./modules.ts";
import { Window } from "./windows.ts";

/**
 * Mixed work for a long time: `bun run soak [--minutes 15] [--seed N]`. Calls, streams, edits of modules, clients
 * that come and go or break off, clients behind bad links, strangers, modules that exit, spin and throw. Exits with 1
 * unless memory, descriptors, processes and latency of the last fifth of the time are those of the first.
 */
const { values } = parseArgs({
  options: { minutes: { type: "string", default: "15" }, seed: { type: "string", default: "20261123" } },
});
const totalMs = Number(values.minutes) * 60_000;
const random = new Random(Number(values.seed));
const report = new Report();

const site = await Site.create({
  ...soakModules,
  "changing.ts": changingModule(0),
  "lib/tail.ts": tailModule(0),
  "once.ts": onceModule,
});
const identity: Identity = await clientOf(site);
const server = await site.start([
  ...["--handshake-rate", "1000000", "--handshake-burst", "1000000", "--handshake-timeout", "1s"],
  ...["--kill-grace", "200ms", "--drain-timeout", "2s"],
]);
const { pid } = server.process;
const options: ConnectOptions = { host: "127.0.0.1", port: site.port, certsDir: site.certs, reconnect: true };
const target: Target = {
  port: site.port,
  stranger: await newIdentity("stranger"),
  trusted: identity,
  clientHello: await captureClientHello(),
  report,
  listenedTo: { strangers: 0 },
};
const atStart = vitalsOf(pid);

const warmUpMs = totalMs / 10;
const spanMs = totalMs / 5;
const first = new Window();
const last = new Window();
const startedAt = performance.now();
const elapsedMs = () => performance.now() - startedAt;
const isOver = () => elapsedMs() >= totalMs || server.process.exitCode !== null;
const window = (): Window | undefined => {
  const now = elapsedMs();
  if (now >= warmUpMs && now < warmUpMs + spanMs) return first;
  return now >= totalMs - spanMs ? last : undefined;
};

const badLinks = new BadLinks({ options, random, report, isOver });
const counts = {
  ...{ calls: 0, edits: 0, news: 0, connections: 0, strangers: 0, floods: 0, crashes: 0 },
  badLinks: badLinks.counts,
};

await Promise.all([
  ...[1, 2, 3, 4].map(() => caller()),
  ...Array.from({ length: 10 }, () => watcher()),
  editor(),
  visitor(),
  stranger(),
  flooder(),
  crasher(),
  observer(),
  badLinks.run(3),
]);

await Bun.sleep(5_000);
judge();
await server[Symbol.asyncDispose]();
await site[Symbol.asyncDispose]();
process.exit(report.violations.length === 0 ? 0 : 1);

/** Short calls, whose latency is what counts, among longer ones. */
async function caller(): Promise<void> {
  using client = await connect(options);
  while (!isOver()) {
    const startedAt = performance.now();
    await expect("echo", client.exec("echo.ts", "x".repeat(100)));
    window()?.latenciesMs.push(performance.now() - startedAt);
    counts.calls += 1;
    const way = random.integer(0, 9);
    if (way === 0) await expect("big", client.exec("big.ts", "500000"));
    else if (way === 1) await expect("stream", client.exec("stream.ts", "100", { onPart: () => {} }));
    else if (way === 2) await expect("sync", client.sync());
    else if (way === 3) await expect("changing", client.exec("changing.ts"));
    else if (way === 4) await cancelled(client);
    await Bun.sleep(random.integer(5, 40));
  }
}

async function cancelled(client: VeripyClient): Promise<void> {
  const signal = AbortSignal.timeout(random.integer(1, 20));
  await expect("a call that is given up", client.exec("wait.ts", "5000", { signal }), "cancelled");
}

async function watcher(): Promise<void> {
  using client = await connect(options);
  client.on("news", () => {
    counts.news += 1;
  });
  client.on("disconnected", ({ reason }) =>
    report.violation(`a watching client lost its connection: ${reason.message}`),
  );
  while (!isOver()) {
    await Bun.sleep(1_000);
  }
  client.removeAllListeners("disconnected");
}

/** Edits, in place or by renaming, broken ones among them, an imported file too; and a module that comes and goes. */
async function editor(): Promise<void> {
  for (let edit = 1; !isOver(); edit++) {
    counts.edits += 1;
    if (edit % 3 === 0) await site.write("lib/tail.ts", tailModule(edit));
    else if (edit % 3 === 1) await site.write("changing.ts", changingModule(edit));
    else {
      const path = join(site.path, "mods", ".changing.new");
      await Bun.write(path, changingModule(edit));
      await rename(path, join(site.path, "mods/changing.ts"));
    }
    if (edit % 10 === 0) await site.write("guest.ts", changingModule(0));
    if (edit % 10 === 5) await rm(join(site.path, "mods/guest.ts"), { force: true });
    await Bun.sleep(700);
  }
  await site.write("changing.ts", changingModule(0));
  await rm(join(site.path, "mods/guest.ts"), { force: true });
}

/** Clients that come, call once and leave, in order or in the middle of it. */
async function visitor(): Promise<void> {
  while (!isOver()) {
    counts.connections += 1;
    const client = await connect({ ...options, reconnect: false });
    const call = client.exec("wait.ts", "20");
    if (random.chance(0.5)) await expect("a visitor's call", call);
    else call.catch(() => {});
    client.close();
    await Bun.sleep(random.integer(50, 300));
  }
}

async function stranger(): Promise<void> {
  while (!isOver()) {
    counts.strangers += 1;
    await random.pick(Object.values(attacks))(random, target);
    await Bun.sleep(random.integer(20, 150));
  }
}

/**
 * Eight addresses that fill the places for handshakes, by silence or with one byte each. Between the two windows: how
 * many connections they hold varies, and afterwards everything must be as it was before.
 */
async function flooder(): Promise<void> {
  if (python === undefined || process.platform !== "linux") return;
  const addresses = Array.from({ length: 8 }, (_, index) => `127.0.0.${index + 2}`);
  const beginMs = warmUpMs + spanMs;
  // The last ones take a second to end.
  const endMs = totalMs - spanMs - 2_000;
  while (elapsedMs() < beginMs && !isOver()) await Bun.sleep(100);
  for (let kind = 0; elapsedMs() < endMs && !isOver(); kind++) {
    const args = [String(site.port), kind % 2 === 0 ? "silent" : "byte", "64", ...addresses];
    await using flood = new Running(pythonFixture("silent_peers.py", ...args), { stdin: "pipe" });
    const until = Math.min(elapsedMs() + 15_000, endMs);
    while (elapsedMs() < until && !isOver()) await Bun.sleep(100);
    flood.endInput();
    await flood.ended();
    counts.floods += (JSON.parse(flood.stdout.at(-1) ?? "") as { opened: number }).opened;
  }
}

async function crasher(): Promise<void> {
  using client = await connect(options);
  while (!isOver()) {
    counts.crashes += 1;
    const way = random.integer(0, 2);
    if (way === 0) await expect("exits", client.exec("exits.ts"), "module_crashed");
    else if (way === 1)
      await expect("spins", client.exec("spins.ts", "", { timeoutMs: 300 }), "timeout", "module_crashed");
    else await expect("throws", client.exec("throws.ts"), "exec_failed", "module_crashed");
    await Bun.sleep(1_000);
  }
}

async function observer(): Promise<void> {
  while (!isOver()) {
    const vitals = vitalsOf(pid);
    window()?.add(vitals);
    report.progress(
      () =>
        `${mebibytes(vitals.rssBytes)}, ${vitals.descriptors} descriptors, ${vitals.children.length} hosts; ${JSON.stringify(counts)}`,
    );
    for (const line of server.stderr.splice(0)) {
      if (/unhandled|uncaught|TypeError|RangeError|"level":"fatal"|panic/i.test(line))
        report.violation(`the server's log: ${line.slice(0, 400)}`);
    }
    await Bun.sleep(1_000);
  }
}

/** Waits for a call; anything but success, or one of the named codes, is a violation. */
async function expect(what: string, call: Promise<unknown>, ...codes: string[]): Promise<void> {
  try {
    await within(30_000, what, call);
    if (codes.length > 0) report.violation(`${what} succeeded`);
  } catch (error) {
    const code = error instanceof VeripyError ? error.code : String(error);
    if (!codes.includes(code))
      report.violation(`${what}: ${code} ${error instanceof Error ? error.message : ""}`);
  }
}

function tailModule(edit: number): string {
  return `export const tail = " tail ${edit}";\n`;
}

function judge(): void {
  if (server.process.exitCode !== null) {
    report.violation(`the server has ended with code ${server.process.exitCode}`);
    return;
  }
  const atEnd = vitalsOf(pid);
  const compare = (what: string, early: number, late: number, allowed: number) => {
    if (late > allowed)
      report.violation(`${what}: ${early.toFixed(1)} at the beginning, ${late.toFixed(1)} at the end`);
  };
  compare("memory", first.rssBytes, last.rssBytes, first.rssBytes * 1.1 + 16 * 1024 ** 2);
  // A module host has four of them, and two more may just be on their way out.
  compare("descriptors", first.descriptors, last.descriptors, first.descriptors + 8);
  compare("module hosts", first.children, last.children, first.children + 2);
  // Half as much again, since other programs run on the machine too.
  compare("median latency, ms", first.p50Ms, last.p50Ms, first.p50Ms * 1.5 + 1);
  compare("99th percentile of latency, ms", first.p99Ms, last.p99Ms, first.p99Ms * 2 + 20);
  compare("descriptors when all have left", atStart.descriptors, atEnd.descriptors, atStart.descriptors + 2);
  report.result(
    [
      `soak: ${values.minutes} minutes, ${JSON.stringify(counts)}`,
      `memory ${mebibytes(first.rssBytes)} -> ${mebibytes(last.rssBytes)}`,
      `descriptors ${first.descriptors} -> ${last.descriptors} (${atStart.descriptors} before, ${atEnd.descriptors} after all)`,
      `module hosts ${first.children} -> ${last.children}`,
      `latency p50 ${first.p50Ms.toFixed(2)} -> ${last.p50Ms.toFixed(2)} ms, p99 ${first.p99Ms.toFixed(1)} -> ${last.p99Ms.toFixed(1)} ms`,
      `violations ${report.violations.length}`,
    ].join("; "),
  );
}
