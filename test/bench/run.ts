/**
 * `bun run bench [-- --quick] [-- --only raw,veripy]`: starts every stack in turn, several times, measures, prints
 * the table, and writes bench.json. Needs a Unix with openssl; processor and memory figures need Linux.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, cpus, release, tmpdir, totalmem, type } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { makeCertificates } from "./harness/certificates.ts";
import { measureStack, measureVeripy, type Settings } from "./measure.ts";
import { printReport } from "./print.ts";
import { type Report, Samples } from "./results.ts";
import {
  bundleForNode,
  initVeripy,
  type Place,
  type Stack,
  stacks,
  veripyClient,
  veripyServer,
} from "./stacks.ts";

const root = dirname(dirname(import.meta.dir));
const full: Settings = {
  rounds: 3,
  warmupMs: 1_500,
  durationMs: 2_000,
  connections: 1_000,
  broadcastClients: 500,
  broadcasts: 15,
  edits: 40,
  processes: 20,
  looks: 6,
};
const quick: Settings = {
  rounds: 1,
  warmupMs: 100,
  durationMs: 300,
  connections: 200,
  broadcastClients: 100,
  broadcasts: 3,
  edits: 8,
  processes: 4,
  looks: 2,
};

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
  },
});
const settings: Settings = { ...(values.quick ? quick : full) };
if (values.rounds !== undefined) settings.rounds = Math.max(1, Number.parseInt(values.rounds, 10));
const wanted = chosen(values.only);

const hasVeripy = wanted.some(({ id }) => id === "veripy");

install();
const directory = mkdtempSync(join(tmpdir(), "veripy-bench-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

const place: Place = {
  certs: join(directory, "certs"),
  veripy: join(directory, "veripy"),
  strangers: join(directory, "strangers"),
  bundles: join(directory, "bundles"),
};
mkdirSync(place.certs);
makeCertificates(place.certs);
if (hasVeripy) initVeripy(place.veripy);
await bundleForNode(place.bundles);

const samples = new Samples();
const missing = new Map(wanted.flatMap((stack) => (stack.missing?.() ? [[stack.id, stack.missing()]] : [])));
const began = performance.now();
for (const [id, why] of missing) console.log(`skipped ${id}: ${why}`);
for (let round = 1; round <= settings.rounds; round++) {
  for (const stack of wanted) {
    if (missing.has(stack.id)) continue;
    const started = performance.now();
    await measureStack(stack, place, settings, samples);
    say(`round ${round} of ${settings.rounds}: ${stack.title}`, started);
  }
  if (hasVeripy) {
    const started = performance.now();
    await measureVeripy(place.veripy, directory, settings, samples);
    say(`round ${round} of ${settings.rounds}: VeriPy's modules and processes`, started);
  }
}

const report: Report = {
  at: new Date().toISOString(),
  quick: values.quick,
  rounds: settings.rounds,
  commit: outputOf("git", "rev-parse", "--short=12", "HEAD"),
  machine: machine(),
  settings: { ...settings },
  stacks: wanted.map(({ id, title }) => {
    const why = missing.get(id);
    return { id, title, ...(why === undefined ? {} : { missing: why }) };
  }),
  cells: samples.cells(wanted),
};
writeFileSync(join(root, "bench.json"), `${JSON.stringify(report, undefined, 1)}\n`);
printReport(report);
console.log(`\n${((performance.now() - began) / 1000).toFixed(0)} s; written to bench.json.`);
process.exit(0);

function chosen(list: string | undefined): readonly Stack[] {
  if (list === undefined) return stacks;
  const ids = list.split(",");
  const unknown = ids.filter((id) => !stacks.some((stack) => stack.id === id));
  if (unknown.length > 0) {
    console.error(
      `bench: Cannot measure '${unknown.join(", ")}': there are ${stacks.map(({ id }) => id).join(", ")}.`,
    );
    process.exit(2);
  }
  return stacks.filter(({ id }) => ids.includes(id));
}

/** The peers' packages, when they are not there yet, and VeriPy's executables as users get them. */
function install(): void {
  const run = (args: string[], cwd: string): void => {
    const { status } = spawnSync(process.execPath, args, { cwd, stdio: ["ignore", "ignore", "inherit"] });
    if (status !== 0) throw new Error(`'bun ${args.join(" ")}' failed in ${cwd}.`);
  };
  if (!existsSync(join(import.meta.dir, "node_modules"))) {
    run(["install", "--frozen-lockfile", "--silent"], import.meta.dir);
  }
  if (!hasVeripy) return;
  if (!existsSync(join(root, "node_modules"))) run(["install", "--frozen-lockfile", "--silent"], root);
  // Always built anew: figures of an executable that is older than the sources would mislead.
  run(["run", "--silent", "build"], root);
  for (const path of [veripyServer, veripyClient])
    if (!existsSync(path)) throw new Error(`${path} is missing.`);
}

function machine(): Record<string, string> {
  return {
    processor: `${cpus()[0]?.model ?? "unknown"} × ${cpus().length}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    system: `${type()} ${release()} ${arch()}`,
    bun: Bun.version,
    node: outputOf("node", "--version"),
    python: outputOf("python3", "--version"),
    nats: outputOf("nats-server", "--version"),
    openssl: outputOf("openssl", "version"),
  };
}

function outputOf(program: string, ...args: string[]): string {
  const { status, stdout } = spawnSync(program, args, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : "none";
}

function say(what: string, started: number): void {
  console.log(`${what}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
