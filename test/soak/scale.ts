import { parseArgs } from "node:util";
import type { ModuleStats } from "../../src/index.ts";
import { hostsOf, privateBytes, processesIn, proportionalBytes } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, rssOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo } from "../helpers/witness.ts";

/**
 * Many modules in one folder: `bun run scale:modules [--modules 1000]`. They are started, listed, verified and
 * called; then again with `--idle-stop`, until no process is left, and called once more. Reports what a module costs,
 * and exits with 1 when one is missing or the memory does not fall back.
 */
const { values } = parseArgs({ options: { modules: { type: "string", default: "1000" } } });
const count = Number(values.modules);
const names = Array.from({ length: count }, (_, at) => `m${String(at).padStart(4, "0")}.ts`);

await using site = await Site.create(
  Object.fromEntries(
    names.map((name) => [
      name,
      `export const description = "${name}";\nexport const execute = (args: string) => "${name} " + args;\n`,
    ]),
  ),
);
const all = count + 1; // with the module that 'init' makes
/** A server with many modules to load listens only afterwards. */
const startWithinMs = 20_000 + 100 * count;

await resident();
await idle();
if (processesIn(site.path).length > 0) throw new Error("Processes are left.");

async function resident(): Promise<void> {
  const startedAt = performance.now();
  const server = await site.start(["--log-level", "info"], undefined, startWithinMs);
  const startMs = performance.now() - startedAt;
  const { pid } = server.process;

  const listMs = await timed(async () => {
    const { stdout } = await site.call(["list", "--json"], { deadlineMs: 60_000 });
    expectCount("listed", stdout.trim().split("\n").length);
  });
  const verifyMs = await timed(async () => {
    const { stdout, exitCode } = await site.call(["verify", "--json"], { deadlineMs: 60_000 });
    if (exitCode !== 0) throw new Error(`'verify' ended with ${exitCode}.`);
    expectCount("verified", stdout.split("\n").filter((line) => line.includes('"verified":true')).length);
  });
  const callMs = await timed(callAll);
  const hosts = hostsOf(pid);
  expectCount("running", hosts.length);
  const own = sumOf(hosts, privateBytes);
  const share = sumOf(hosts, proportionalBytes);
  console.log(
    [
      `${count} modules: started in ${seconds(startMs)} (${(startMs / all).toFixed(1)} ms each)`,
      `listed in ${seconds(listMs)}, verified in ${seconds(verifyMs)}, each called once in ${seconds(callMs)}`,
      `${mebibytes(own / all)} of private memory and ${mebibytes(share / all)} of PSS each`,
      `the server itself ${mebibytes(rssOf(pid))} of RSS`,
    ].join("; "),
  );
  server.process.kill("SIGTERM");
  const stopMs = await timed(() => server.ended(60_000));
  console.log(`Stopped in ${seconds(stopMs)}.`);
}

async function idle(): Promise<void> {
  const server = await site.start(["--idle-stop", "5s"], undefined, startWithinMs);
  const { pid } = server.process;
  const before = sumOf(hostsOf(pid), proportionalBytes) + proportionalBytes(pid);
  await eventually("all idle processes to end", () => hostsOf(pid).length === 0, startWithinMs);
  const after = proportionalBytes(pid);
  using client = await connectTo(site);
  const states = new Set((await client.stats()).map(({ state }: ModuleStats) => state));
  if (states.size !== 1 || !states.has("idle")) throw new Error(`States: ${[...states].join(", ")}.`);
  await client.verify(names[0] ?? "");
  const wakeMs = await timed(() => client.exec(names[0] ?? ""));
  const callMs = await timed(callAll);
  console.log(
    [
      `with --idle-stop: ${mebibytes(before)} of PSS in all falls to ${mebibytes(after)}`,
      `the first call of a stopped module takes ${wakeMs.toFixed(1)} ms, of all of them at once ${seconds(callMs)}`,
    ].join("; "),
  );
  if (after > before / 4) throw new Error("The memory has not fallen back.");
  server.process.kill("SIGTERM");
  await server.ended(60_000);
}

/** Each module once, all at the same time. */
async function callAll(): Promise<void> {
  using client = await connectTo(site);
  const results = await Promise.all(names.map((name) => client.exec(name, "called")));
  for (const [at, { result }] of results.entries())
    if (result !== `${names[at]} called`) throw new Error(`${names[at]} answered '${result}'.`);
}

function expectCount(what: string, found: number): void {
  if (found !== all) throw new Error(`${found} modules were ${what}, there are ${all}.`);
}

function sumOf(pids: readonly number[], bytesOf: (pid: number) => number): number {
  return pids.reduce((sum, pid) => sum + bytesOf(pid), 0);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}
