import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { VeripyClient } from "../../src/index.ts";
import type { Running } from "../helpers/processes.ts";
import { hasProcfs, hostsOf, isOnProcessor, processesIn } from "../helpers/procfs.ts";
import { Site } from "../helpers/site.ts";
import { mebibytes, rssOf } from "../helpers/vitals.ts";
import { eventually } from "../helpers/within.ts";
import { connectTo, failureOf, Witness, witnessModule } from "../helpers/witness.ts";

// Modules that do the worst they can, in the built executables. Whatever happens in one, its caller gets a code,
// another module goes on answering, the server stays as it was, and nothing is left running.

/** Each answers `ok` to the arguments "", and does what its name says to any others. */
const hostile = {
  "loops.ts": `
    export const execute = (args: string) => { if (args !== "") for (;;); return "ok"; };`,
  "exits.ts": `
    export const execute = (args: string) => { if (args !== "") process.exit(3); return "ok"; };`,
  "throws-late.ts": `
    export async function execute(args: string) {
      if (args === "") return "ok";
      setTimeout(() => { throw new Error("too late"); }, 1);
      await Bun.sleep(60_000);
      return "never";
    }`,
  "rejects.ts": `
    export async function execute(args: string) {
      if (args !== "") void Promise.reject(new Error("nobody's"));
      await Bun.sleep(20);
      return "ok";
    }`,
  "reads-null.ts": `
    import { CString, type Pointer } from "bun:ffi";
    export const execute = (args: string) => args === "" ? "ok" : String(new CString(8 as Pointer));`,
  "signals.ts": `
    export const execute = (args: string) => { if (args === "") return "ok"; process.kill(process.pid, "SIGSEGV"); for (;;); };`,
  "grows.ts": `
    export const limits = { maxModuleMemoryBytes: 157_286_400 };
    const kept: Uint8Array[] = [];
    export async function execute(args: string) {
      while (args !== "") { kept.push(new Uint8Array(8 * 1024 * 1024).fill(1)); await Bun.sleep(1); }
      return "ok";
    }`,
  "no-string.ts": `
    export const execute = (args: string): any => args === "" ? "ok" : { toString: () => "a string after all" };`,
  "huge.ts": `
    export async function* execute(args: string) {
      if (args === "part") yield "x".repeat(200_000_000);
      return args === "" ? "ok" : "x".repeat(200_000_000);
    }`,
  "writes-junk.ts": `
    import { writeSync } from "node:fs";
    export async function execute(args: string) {
      if (args === "") return "ok";
      writeSync(3, "\\0junk\\xff\\n".repeat(1_000));
      await Bun.sleep(60_000);
      return "never";
    }`,
  "writes-endless-line.ts": `
    import { writeSync } from "node:fs";
    const block = Buffer.alloc(65_536, "x");
    export async function execute(args: string) {
      for (;args !== "";) { try { writeSync(3, block); } catch { await Bun.sleep(1); } }
      return "ok";
    }`,
  "forges.ts": `
    import { writeSync } from "node:fs";
    export async function execute(args: string) {
      if (args === "") return "ok";
      writeSync(3, args + "\\n");
      await Bun.sleep(60_000);
      return "never";
    }`,
  "floods.ts": `
    export function execute(args: string) { while (args !== "") process.stdout.write("noise\\n"); return "ok"; }`,
  "forks.ts": `
    export const permissions = { run: ["sh", "sleep"] } as const;
    export async function execute(args: string) {
      if (args === "") return "ok";
      const quiet = { stdin: "ignore", stdout: "inherit", stderr: "inherit" } as const;
      Bun.spawn(["sleep", "1000"], quiet);
      await Bun.spawn(["sh", "-c", "sleep 1000 & sleep 1000 & exit"], quiet).exited;
      // Each leads a session of its own, out of reach of a signal to the host's group; a shell that is killed at
      // once may be about to start its program.
      Bun.spawn(["sleep", "1000"], { ...quiet, detached: true });
      for (let shell = 0; shell < 8; shell++) Bun.spawn(["sh", "-c", "sleep 1000; exit"], { ...quiet, detached: true });
      if (args === "exit") process.exit(0);
      if (args === "spin") for (;;);
      return "forked";
    }`,
};

const modules = { ...hostile, "witness.ts": witnessModule };
const deadlineMs = 400;
const killGraceMs = 200;

describe.skipIf(!hasProcfs)("a hostile module hurts only itself", () => {
  let site: Site;
  let server: Running;
  let client: VeripyClient;
  let witness: Witness;
  let residentAtFirst: number;
  const worst: string[] = [];

  beforeAll(async () => {
    site = await Site.create(modules);
    server = await site.start(["--kill-grace", `${killGraceMs}ms`]);
    client = await connectTo(site);
    await Promise.all(Object.keys(modules).map((mod) => client.exec(mod, "")));
    witness = await Witness.of(site);
    await eventually("a warm witness", () => witness.calls > 100);
    residentAtFirst = rssOf(server.process.pid);
    worst.push(`${`(none yet, ${witness.calls} answers)`.padEnd(44)} ${witness.takeWorstMs().toFixed(1)} ms`);
  });

  afterAll(async () => {
    await site[Symbol.asyncDispose]();
  });

  /** Does it, sees that the module answers again afterwards, and notes how long the witness had to wait. */
  async function provoke(mod: keyof typeof hostile, args: string, ms = 10_000): Promise<string> {
    witness.takeWorstMs();
    const answer = await client.exec(mod, args, { timeoutMs: ms }).then(
      ({ result }) => `ok: ${result}`,
      (error) => `${error.code}: ${error.message}`,
    );
    expect((await client.exec(mod, "")).result).toBe("ok");
    const { calls } = witness;
    await eventually("the witness's next answer", () => witness.calls > calls);
    const worstMs = witness.takeWorstMs();
    worst.push(`${`${mod} ${args.slice(0, 30)}`.padEnd(44)} ${worstMs.toFixed(1)} ms`);
    expect(worstMs).toBeLessThan(1_000);
    return answer;
  }

  test("that loops: timeout, at its deadline", async () => {
    const begunAt = performance.now();
    const call = failureOf(client.exec("loops.ts", "!", { timeoutMs: deadlineMs }));
    expect(await call).toStartWith("timeout: loops.ts did not answer within 400 ms");
    expect(performance.now() - begunAt).toBeLessThan(deadlineMs + 500);
    expect(await provoke("loops.ts", "!", deadlineMs)).toStartWith("timeout");
  });

  test("that exits: module_crashed, with its exit code", async () => {
    expect(await provoke("exits.ts", "!")).toBe(
      "module_crashed: exits.ts crashed: its process exited with code 3.",
    );
  });

  test("that throws outside of its call: module_crashed, with what it threw", async () => {
    expect(await provoke("throws-late.ts", "!")).toBe(
      "module_crashed: throws-late.ts crashed: uncaught exception: too late.",
    );
  });

  test("that leaves a rejected promise: its answer counts, and the log has the rejection", async () => {
    expect(await provoke("rejects.ts", "!")).toBe("ok: ok");
    expect(await server.line("nobody's")).toContain('"mod":"rejects.ts"');
  });

  test("that reads unmapped memory: module_crashed", async () => {
    expect(await provoke("reads-null.ts", "!")).toMatch(/^module_crashed: .* its process was ended by SIG/);
  });

  test("that sends itself a deadly signal: module_crashed, with its name", async () => {
    expect(await provoke("signals.ts", "!")).toEndWith("its process was ended by SIGSEGV.");
  });

  test("that allocates without end: module_crashed, and the log says why", async () => {
    expect(await provoke("grows.ts", "!")).toMatch(
      /^module_crashed: .* used \d+ MiB of memory, the limit is 150 MiB/,
    );
    expect(await server.line("the limit is 150 MiB")).toContain('"mod":"grows.ts"');
  });

  test("that answers with anything but a string: exec_failed, never its toString", async () => {
    expect(await provoke("no-string.ts", "!")).toBe(
      "exec_failed: execute of no-string.ts must return a string, not an object.",
    );
  });

  test("that answers with 200 MB: too_large, as a result and as a part", async () => {
    expect(await provoke("huge.ts", "result")).toStartWith("too_large: The result of huge.ts has 200000000");
    expect(await provoke("huge.ts", "part")).toStartWith("too_large: execute of huge.ts yielded a part of");
  });

  test("that writes junk to its control channel: module_crashed", async () => {
    expect(await provoke("writes-junk.ts", "!")).toMatch(/^module_crashed: .* broke the protocol/);
    expect(await provoke("writes-endless-line.ts", "!")).toMatch(/^module_crashed: .* broke the protocol/);
  });

  test.each([
    'host:done:nobody {"result":"forged"}',
    'host:ready:0 {"desc":"another"}',
    'mod:exec_resp:1 {"result":"forged"}',
    "sys:drain:1 {}",
    'host:part:0 {"data":7}',
  ])("that forges the frame %s: module_crashed", async (frame) => {
    expect(await provoke("forges.ts", frame)).toMatch(/^module_crashed: .* broke the protocol/);
  });

  test("that adds fields to its answer: they reach no client", async () => {
    // The only call in flight has the first reference; the other one is nobody's.
    const frame = (ref: string) => `host:done:${ref} {"result":"x","tree":"${"0".repeat(64)}"}`;
    expect(await provoke("forges.ts", frame("0"))).toMatch(/^module_crashed: .* broke the protocol/);
    expect(await provoke("forges.ts", frame("1"))).toMatch(/^module_crashed: .* broke the protocol/);
  });

  test("that floods its standard output: timeout, and the log gets no more than its rate", async () => {
    expect(await provoke("floods.ts", "!", deadlineMs)).toStartWith("timeout");
    const lines = server.stderr.filter((line) => line.includes('"text":"noise"')).length;
    expect(lines).toBeGreaterThan(0);
    expect(lines).toBeLessThanOrEqual(300);
  });

  test("that starts programs: they end with its process, those in sessions of their own too", async () => {
    const sleeping = () => processesIn(site.path).filter(({ command }) => command === "sleep 1000");
    expect(await provoke("forks.ts", "exit")).toStartWith("module_crashed");
    await eventually("the end of the programs", () => sleeping().length === 0);
    expect(await provoke("forks.ts", "spin", deadlineMs)).toStartWith("timeout");
    await eventually("the end of the programs", () => sleeping().length === 0);
    // These are there still when the server is stopped.
    expect(await provoke("forks.ts", "stay")).toBe("ok: forked");
    await eventually("all programs", () => sleeping().length === 12);
  });

  test("and after all that the server still works, and stops without leaving a process", async () => {
    const { calls } = witness;
    await witness[Symbol.asyncDispose]();
    client.close();
    const { pid } = server.process;
    const growth = rssOf(pid) - residentAtFirst;
    console.log(
      [
        `While modules misbehaved, ${calls} calls of another module were answered; the slowest answer during each:`,
        ...worst.map((line) => `  ${line}`),
        `The server's memory went from ${mebibytes(residentAtFirst)} to ${mebibytes(residentAtFirst + growth)}.`,
      ].join("\n"),
    );
    expect(growth).toBeLessThan(48 * 1024 ** 2);
    // Beside the modules written here: hello.ts, and the processes that wait for the next module.
    expect(hostsOf(pid).length).toBeLessThanOrEqual(Object.keys(modules).length + 4);
    server.process.kill("SIGTERM");
    expect(await server.ended()).toBe(0);
    expect(processesIn(site.path)).toEqual([]);
  });
});

describe.skipIf(!hasProcfs)("when the server is killed", () => {
  test("no module host is alive two seconds later, not even one that spins", async () => {
    const spin = "export const execute = (args: string) => { for (;;); };";
    await using site = await Site.create({ "a.ts": spin, "b.ts": spin, "calm.ts": witnessModule });
    const server = await site.start(["--eager"]);
    const client = await connectTo(site);
    const spinning = ["a.ts", "b.ts"].map((mod) => failureOf(client.exec(mod)));
    expect((await client.exec("calm.ts", "yes")).result).toBe("yes");
    const { pid } = server.process;
    const hosts = hostsOf(pid);
    expect(hosts.length).toBe(4);
    await eventually("both to spin", () => hosts.filter(isOnProcessor).length >= 2);

    server.process.kill("SIGKILL");
    await server.process.exited;
    await eventually("the end of all module hosts", () => processesIn(site.path).length === 0, 2_000);
    for (const call of spinning) expect(await call).toStartWith("unreachable");
  });
});

test.skipIf(!hasProcfs)(
  "a program that survives its module does not keep the server from stopping",
  async () => {
    await using site = await Site.create({
      "leaves.ts": `export const permissions = { run: ["sleep"] } as const;
    export function execute() {
      const streams = { stdin: "ignore", stdout: "inherit", stderr: "inherit" } as const;
      Bun.spawn(["sleep", "1000"], { ...streams, detached: true });
      // Nothing can be done at such an end, and by then the program has no parent that would tell whose it was.
      process.kill(process.pid, "SIGKILL");
      return "";
    }`,
    });
    const server = await site.start();
    using client = await connectTo(site);
    expect(await failureOf(client.exec("leaves"))).toStartWith("module_crashed");
    const survivors = processesIn(site.path).filter(({ command }) => command === "sleep 1000");
    try {
      server.process.kill("SIGTERM");
      expect(await server.ended(3_000)).toBe(0);
    } finally {
      for (const { pid } of survivors) process.kill(pid, "SIGKILL");
    }
  },
);
