import { parseArgs } from "node:util";
import type { Identity } from "../../src/identity/identity.ts";
import { loadIdentity } from "../../src/index.ts";
import { clientOf, newIdentity, trust } from "../helpers/keys.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, type Vitals, vitalsOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { fuzzAnswers } from "./answers.ts";
import { attacks, captureClientHello, joinAttacks, type Target } from "./connections.ts";
import { maxLineBytes } from "./frames.ts";
import { fuzzModules } from "./payloads.ts";
import { Random } from "./random.ts";
import { Report } from "./report.ts";
import { fuzzSession } from "./session.ts";
import { fuzzSources } from "./sources.ts";

/**
 * Mutated frames, connections, answers and sources, from a fixed seed. `bun run fuzz [--quick] [--seed N] [--frames N]
 * [--connections N] [--answers N] [--sources N]`. Exits with 1 when anything was answered that should not be, or not answered
 * that should be; when the server crashed, hung or leaked; or when the other client was not served throughout.
 */
const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    seed: { type: "string", default: "20261123" },
    frames: { type: "string" },
    connections: { type: "string" },
    answers: { type: "string" },
    sources: { type: "string" },
  },
});
const share = values.quick ? 0.01 : 1;
const counts = {
  frames: Number(values.frames ?? 1_000_000 * share),
  connections: Number(values.connections ?? 10_000 * share),
  answers: Number(values.answers ?? 100_000 * share),
  sources: Number(values.sources ?? 50_000 * share),
};
/** What a server may hold more after the run than after its first tenth: its heap breathes. */
const allowedGrowthBytes = 48 * 1024 ** 2;

const random = new Random(Number(values.seed));
const report = new Report();
report.result(
  `seed ${values.seed}: ${counts.frames} frames, ${counts.connections} connections, ${counts.answers} answers, ${counts.sources} sources`,
);

await using site = await Site.create(fuzzModules);
const trusted = await newIdentity("fuzzer");
await trust(site, { fingerprint: trusted.fingerprint, name: "fuzzer" });
await using server = await site.start([
  ...["--max-line", String(maxLineBytes), "--handshake-timeout", "2s"],
  ...["--handshake-rate", "1000000", "--handshake-burst", "1000000"],
  ...["--max-handshakes", "10000", "--max-handshakes-per-address", "10000"],
  ...["--max-queue", "100000", "--log-level", "info"],
]);
const target: Target = {
  port: site.port,
  stranger: await newIdentity("stranger"),
  trusted,
  clientHello: await captureClientHello(),
  report,
  listenedTo: { strangers: 0 },
};

const witness = Bun.spawn(
  [process.execPath, `${import.meta.dir}/witness.ts`, String(site.port), site.certs],
  {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  },
);

const logs = watchLog(server, report);
await fuzzFrames(counts.frames / 10);
await fuzzConnections(counts.connections / 10);
const before = await settled(server);
report.result(`after a tenth: ${text(before)}`);
const frames = counts.frames / 10 + (await fuzzFrames(counts.frames * 0.9));
const uninvited = counts.connections / 10 + (await fuzzConnections(counts.connections * 0.8));
const connections = uninvited + (await fuzzWhileInviting(counts.connections / 10));
const after = await settled(server);
report.result(`at the end:    ${text(after)}`);
compare(before, after);

witness.stdin.end();
const seen = await witnessed(witness.stdout);
if (seen.failures.length > 0) report.violation(`the other client was not served: ${seen.failures[0]}`);
if (seen.calls === 0) report.violation("the other client made no call");
clearInterval(logs);

const { answers, calls } = await fuzzAnswers(
  random.fork(3),
  counts.answers,
  { server: await loadIdentity(site.certs, "server"), client: await clientOf(site), certsDir: site.certs },
  report,
);

const { read } = fuzzSources(random.fork(4), counts.sources, report);
if (counts.sources > 0 && read === 0) report.violation("no source could be read, so little was tried");

report.result(
  [
    `fuzz: seed ${values.seed}, ${Math.round(frames)} frames, ${Math.round(connections)} connections, ${answers} answers to ${calls} calls, ${counts.sources} sources (${read} read)`,
    `memory ${mebibytes(before.rssBytes)} -> ${mebibytes(after.rssBytes)}, descriptors ${before.descriptors} -> ${after.descriptors}, module hosts ${before.children.length} -> ${after.children.length}`,
    `another client: ${seen.calls} calls, p50 ${seen.p50Ms.toFixed(1)} ms, p99 ${seen.p99Ms.toFixed(1)} ms, worst ${seen.worstMs.toFixed(0)} ms`,
    `violations ${report.violations.length}`,
  ].join("; "),
);
await server[Symbol.asyncDispose]();
await site[Symbol.asyncDispose]();
process.exit(report.violations.length === 0 ? 0 : 1);

/** Several connections at a time; gives how many frames were sent, at least `count`. */
async function fuzzFrames(count: number): Promise<number> {
  let sent = 0;
  const identity: Identity = trusted;
  const one = async (own: Random): Promise<void> => {
    while (sent < count && server.process.exitCode === null) {
      report.progress(() => `${sent} frames of ${count}`);
      sent += await fuzzSession(own, { port: site.port, identity, report });
    }
  };
  await Promise.all([1, 2, 3, 4].map((label) => one(random.fork(label + sent))));
  random.next();
  return sent;
}

async function fuzzConnections(count: number, kinds = Object.values(attacks)): Promise<number> {
  let made = 0;
  const one = async (own: Random): Promise<void> => {
    while (made < count && server.process.exitCode === null) {
      made += 1;
      report.progress(() => `${made} connections of ${count}`);
      await own.pick(kinds)(own, target);
    }
  };
  await Promise.all(Array.from({ length: 24 }, (_, label) => one(random.fork(100 + label))));
  random.next();
  return made;
}

/** While an invitation is open, strangers may send a little. No guess may lead to trust. */
async function fuzzWhileInviting(count: number): Promise<number> {
  const file = `${site.path}/trusted-keys.json`;
  const before = await Bun.file(file).text();
  const { exitCode, stderr } = await site.manage(["invite", "--expires", "1h"]);
  if (exitCode !== 0) throw new Error(`invite failed: ${stderr}`);
  const made = await fuzzConnections(count, Object.values(joinAttacks));
  if (target.listenedTo.strangers === 0)
    report.violation("no stranger was listened to, so nothing was tried");
  if ((await Bun.file(file).text()) !== before) report.violation("a stranger has changed who is trusted");
  return made;
}

/** Measured when only the other client is still connected, and the heap has had time to be collected. */
async function settled({ process: { pid, exitCode } }: Running): Promise<Vitals> {
  if (exitCode !== null) throw new Error(`The server has ended with code ${exitCode}.`);
  await Bun.sleep(6_000);
  return vitalsOf(pid);
}

function compare(early: Vitals, late: Vitals): void {
  if (late.descriptors > early.descriptors)
    report.violation(`descriptors leak: ${early.descriptors}, then ${late.descriptors}`);
  if (late.children.length !== early.children.length)
    report.violation(`module hosts: ${early.children}, then ${late.children}`);
  if (late.rssBytes - early.rssBytes > allowedGrowthBytes)
    report.violation(`memory leaks: ${text(early)}, then ${text(late)}`);
}

function text({ rssBytes, descriptors, children }: Vitals): string {
  return `${mebibytes(rssBytes)}, ${descriptors} descriptors, ${children.length} module hosts`;
}

interface Seen {
  readonly calls: number;
  readonly failures: readonly string[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

async function witnessed(output: ReadableStream<Uint8Array>): Promise<Seen> {
  const all = new Response(output).text();
  const line = await eventually("the other client's account", () => all, 60_000);
  return JSON.parse(line.trim().split("\n").at(-1) ?? "{}") as Seen;
}

/** A fault of the server's own shows in its log; what is not one is thrown away, the run is long. */
function watchLog(running: Running, to: Report): ReturnType<typeof setInterval> {
  return setInterval(() => {
    for (const line of running.stderr.splice(0)) {
      if (/unhandled|uncaught|TypeError|RangeError|"level":"(error|fatal)"|panic|ended: /i.test(line))
        to.violation(`the server's log: ${line.slice(0, 400)}`);
    }
    if (running.process.exitCode !== null)
      to.violation(`the server has ended with code ${running.process.exitCode}`);
  }, 200);
}
