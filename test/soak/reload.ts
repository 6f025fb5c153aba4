import { parseArgs } from "node:util";
import { hostsOf, processesIn } from "../helpers/procfs.ts";
import { answerOf, Caller, Editor, type Files, KnownVersions } from "../helpers/reloads.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, vitalsOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { Window } from "./windows.ts";

/**
 * Reloads without end: `bun run soak:reload [--single 10000] [--imports 1000]`. One module is edited that often, and
 * then one file that another module imports, while both are called all the time. Exits with 1 when a call fails,
 * when a result is not of the version that the answer names, or when the server does not end where it began. It
 * begins after a tenth of the reloads: by then the heap has its working size.
 */
const { values } = parseArgs({
  options: { single: { type: "string", default: "10000" }, imports: { type: "string", default: "1000" } },
});

interface Subject {
  readonly mod: string;
  /** The file that is edited. */
  readonly path: string;
  readonly reloads: number;
  files(number: number): Files;
}

const single: Subject = {
  mod: "single.ts",
  path: "single.ts",
  reloads: Number(values.single),
  files: (number) => ({ "single.ts": `export const execute = () => "${answerOf(number)}";\n` }),
};
const importing: Subject = {
  mod: "importing.ts",
  path: "lib/answer.ts",
  reloads: Number(values.imports),
  files: (number) => ({
    "importing.ts": `import { answer } from "./lib/answer.ts";\nexport const execute = () => answer;\n`,
    "lib/answer.ts": `export const answer = "${answerOf(number)}";\n`,
  }),
};
const subjects = [single, importing];
const callersOfEach = 2;
/** Between two calls of one caller: calls all the time, but not so many that nothing else gets the processor. */
const pauseMs = 2;
const allowedGrowth = 16 * 1024 ** 2;

await using site = await Site.create({ ...single.files(0), ...importing.files(0) });
const server = await site.start();
const { pid } = server.process;
const versions = new Map(subjects.map(({ mod }) => [mod, new KnownVersions()]));
const callers: Caller[] = [];
for (const subject of subjects) {
  const known = versionsOf(subject);
  known.add(subject.files(0), 0);
  for (let at = 0; at < callersOfEach; at++)
    callers.push(await Caller.start(site, subject.mod, known, pauseMs));
}

const total = single.reloads + importing.reloads;
const first = new Window();
const last = new Window();
let done = 0;
const startedAt = performance.now();
// Once each, so that a version is kept beside the current one from the beginning.
for (const subject of subjects) await reload(subject, 1, 1);
for (const subject of subjects) await reload(subject, 2, subject.reloads);
const minutes = (performance.now() - startedAt) / 60_000;
await Promise.all(callers.map((caller) => caller.stop()));

// The current version of each module, the module that was there from the start, and three that wait for a module.
const mostHosts = subjects.length + 1 + 3;
await eventually("the end of replaced versions", () => hostsOf(pid).length <= mostHosts, 5_000);
server.process.kill("SIGTERM");
await server.ended();
const left = processesIn(site.path);

const calls = callers.reduce((sum, caller) => sum + caller.calls, 0);
const worstMs = Math.max(...callers.map((caller) => caller.worstMs));
console.log(
  [
    `${single.reloads} reloads of a module and ${importing.reloads} of an imported file in ${minutes.toFixed(1)} minutes`,
    `${calls} calls, none failed, none mixed versions, slowest ${worstMs.toFixed(0)} ms`,
    `server memory ${mebibytes(first.rssBytes)} -> ${mebibytes(last.rssBytes)}`,
    `descriptors ${first.descriptors} -> ${last.descriptors}`,
    `processes ${first.children} -> ${last.children}, left over after the end: ${left.length}`,
  ].join("; "),
);
const faults = [
  last.rssBytes - first.rssBytes > allowedGrowth && "the server's memory has grown",
  last.descriptors > first.descriptors + 2 && "the server holds more descriptors",
  left.length > 0 && `processes are left: ${left.map(({ command }) => command).join(", ")}`,
].filter((fault) => fault !== false);
for (const fault of faults) console.error(fault);
process.exitCode = faults.length === 0 ? 0 : 1;

async function reload(subject: Subject, from: number, to: number): Promise<void> {
  const known = versionsOf(subject);
  const editor = await Editor.start(site, subject.mod);
  for (let number = from; number <= to; number++) {
    const files = subject.files(number);
    const tree = known.add(files, number);
    const how = number % 2 === 0 ? "in place" : "by rename";
    await editor.write(subject.path, files[subject.path] ?? "", tree, how);
    for (const caller of callers) caller.throwIfFailed();
    done += 1;
    observe();
  }
  editor.close();
}

/** The first window is the second tenth of the reloads, the last one the last tenth. */
function observe(): void {
  const share = done / total;
  if (share > 0.1 && share <= 0.2) first.add(vitalsOf(pid));
  if (share > 0.9) last.add(vitalsOf(pid));
  if (done % Math.ceil(total / 10) === 0)
    console.log(`${done} reloads, server memory ${mebibytes(vitalsOf(pid).rssBytes)}`);
}

function versionsOf({ mod }: Subject): KnownVersions {
  const known = versions.get(mod);
  if (known === undefined) throw new Error(`${mod} is no subject.`);
  return known;
}
