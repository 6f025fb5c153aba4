import { parseArgs } from "node:util";
import type { VeripyClient } from "../../src/index.ts";
import { cpuMsOf, hostsOf, processesIn, proportionalBytes } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, rssOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo } from "../helpers/witness.ts";

/**
 * Many modules in one folder: `bun run scale:modules [--modules 1000,10000]`. They are listed, tried, verified, called and
 * edited. With `--untried` it does not wait for the trials, which go on beside all that. Reports what that takes, and exits with 1 when a module is missing, too many processes stay, or one is left.
 */
const { values } = parseArgs({
  options: {
    modules: { type: "string", default: "1000,10000" },
    untried: { type: "boolean", default: false },
  },
});
const resident = 64;
const coldCalls = 100;
const edits = 40;

for (const count of values.modules.split(",").map(Number)) await measure(count);

async function measure(count: number): Promise<void> {
  // One more is the module that 'init' makes.
  const names = Array.from({ length: count - 1 }, (_, at) => nameOf(at));
  await using site = await Site.create(Object.fromEntries(names.map((name) => [name, moduleText(name, 0)])));
  const report = (what: string, figure: string) => console.log(`${count} modules: ${what}: ${figure}`);

  const [server, listenMs] = await timed(() => site.start([], undefined, 60_000));
  const { pid } = server.process;
  report("listening after", seconds(listenMs));

  if (!values.untried) report("each tried after", seconds(await settled(pid, count)));
  const hosts = hostsOf(pid);
  // Others wait for a module, or are being tried.
  if (hosts.length > resident + 8) throw new Error(`${hosts.length} processes stay.`);
  const pss = [pid, ...hosts].reduce((sum, each) => sum + proportionalBytes(each), 0);
  report(
    "idle, PSS of all processes",
    `${mebibytes(pss)}, ${hosts.length} of them module hosts; RSS of the server ${mebibytes(rssOf(pid))}`,
  );

  using client = await connectTo(site);
  const [reports, syncMs] = await timed(() => client.sync());
  expectCount("listed", reports.length, count);
  report("sync", seconds(syncMs));
  const [verdicts, verifyMs] = await timed(() => client.verifyAll());
  expectCount("verified", verdicts.filter(({ verified }) => verified).length, count);
  report("verify of all", seconds(verifyMs));

  report("first call of a cold module", spread(await callCold(client)));
  const edited = nameOf(0);
  const path = `${site.path}/mods/${edited}`;
  report("saved → verified at a client", spread(await editAgain(client, edited, path)));
  report("CPU of the server while nothing happens", `${((await idleCpuMs(pid)) / 100).toFixed(1)} %`);

  server.process.kill("SIGTERM");
  const [, stopMs] = await timed(() => server.ended(60_000));
  report("stopped after", seconds(stopMs));
  if (processesIn(site.path).length > 0) throw new Error("Processes are left.");
}

function nameOf(at: number): string {
  return `m${String(at).padStart(5, "0")}.ts`;
}

function moduleText(name: string, edit: number): string {
  return `export const description = "${name} ${edit}";\nexport const execute = (args: string) => "${name} " + args;\n`;
}

/** Waits until no module has been tried for a while: no new process comes. Returns how long that took. */
async function settled(pid: number, count: number): Promise<number> {
  const quietMs = 3_000;
  const begunAt = performance.now();
  let known = new Set<number>();
  let changedAt = begunAt;
  await eventually(
    "the trials to end",
    () => {
      const now = hostsOf(pid);
      if (now.some((each) => !known.has(each))) changedAt = performance.now();
      known = new Set(now);
      return performance.now() - changedAt > quietMs;
    },
    60_000 + 300 * count,
  );
  return changedAt - begunAt;
}

/** Modules without a process, one at a time, as far apart as it takes to prepare a process in advance. */
async function callCold(client: VeripyClient): Promise<number[]> {
  const idle = (await client.stats()).filter(({ state }) => state === "idle");
  const times: number[] = [];
  for (const { mod } of idle.slice(-coldCalls)) {
    const startedAt = performance.now();
    const { result } = await client.exec(mod, "called");
    times.push(performance.now() - startedAt);
    if (result !== `${mod} called`) throw new Error(`${mod} answered '${result}'.`);
    await Bun.sleep(100);
  }
  return times;
}

/** From just before a file is saved to a verdict on the new version. */
async function editAgain(client: VeripyClient, mod: string, path: string): Promise<number[]> {
  const times: number[] = [];
  for (let edit = 1; edit <= edits; edit++) {
    const verified = Promise.withResolvers<void>();
    const news = async (change: { kind: string; mod?: string }) => {
      if (change.kind !== "modreload" || change.mod !== mod) return;
      const verdict = await client.verify(mod);
      if (verdict.verified && verdict.desc === `${mod} ${edit}`) verified.resolve();
    };
    client.on("news", news);
    const startedAt = performance.now();
    await Bun.write(path, moduleText(mod, edit));
    await verified.promise;
    times.push(performance.now() - startedAt);
    client.off("news", news);
    await Bun.sleep(40 + Math.random() * 60);
  }
  return times;
}

/** CPU time in ten seconds without requests and edits. With `--untried`, trials are among it. */
async function idleCpuMs(pid: number): Promise<number> {
  await Bun.sleep(1_000);
  const before = cpuMsOf(pid);
  await Bun.sleep(10_000);
  return cpuMsOf(pid) - before;
}

function expectCount(what: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${found} modules were ${what}, there are ${expected}.`);
}

/** What `work` resolves to, and how long that took. */
async function timed<T>(work: () => Promise<T>): Promise<readonly [value: T, ms: number]> {
  const startedAt = performance.now();
  const value = await work();
  return [value, performance.now() - startedAt];
}

function spread(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (quantile: number) => (sorted[Math.floor(quantile * sorted.length)] ?? Number.NaN).toFixed(1);
  return `p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, of ${times.length}`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}
