import { afterAll, beforeAll, expect, test } from "bun:test";
import { gone, isAlive, type LoadedVersion, load, openDescriptors } from "../helpers/versions.ts";
import { eventually } from "../helpers/within.ts";

// Modules that misbehave in every way we know. Each test also sees to it that another module goes on answering,
// and the last one that nothing is left: no process, no descriptor.

const MiB = 1024 * 1024;
let neighbour: LoadedVersion;
let descriptors: number;
const neighbourPids = new Set<number>();
const hostilePids = new Set<number>();

beforeAll(async () => {
  descriptors = openDescriptors();
  neighbour = await load("export const execute = (args: string) => args;");
  await neighbour.result();
  neighbourPids.add(pidOf(neighbour));
});

afterAll(async () => {
  await neighbour[Symbol.asyncDispose]();
  for (const pid of [...hostilePids, ...neighbourPids]) await gone(pid, "a module host");
  await eventually("the descriptors to be closed", () => openDescriptors() <= descriptors);
});

function pidOf({ version }: LoadedVersion): number {
  const { pid } = version.stats();
  if (pid === undefined) throw new Error("The version has no process.");
  return pid;
}

/** Loads a module and remembers its process. */
async function loadHostile(...args: Parameters<typeof load>): Promise<LoadedVersion> {
  const m = await load(...args);
  hostilePids.add(pidOf(m));
  return m;
}

/** Runs `scenario` while the neighbour is called all the time; it must not notice. */
async function whileNeighbourAnswers<T>(scenario: Promise<T>): Promise<T> {
  const running = { yes: true };
  let worstMs = 0;
  const caller = (async () => {
    while (running.yes) {
      const begun = performance.now();
      expect(await neighbour.result("still here")).toBe("still here");
      worstMs = Math.max(worstMs, performance.now() - begun);
      await Bun.sleep(2);
    }
  })();
  try {
    return await scenario;
  } finally {
    running.yes = false;
    await caller;
    expect(worstMs).toBeLessThan(1_000);
    expect(pidOf(neighbour)).toBe([...neighbourPids][0] as number);
  }
}

test("a module that loops times out at its deadline, and the next call has a fresh process", async () => {
  await using m = await loadHostile(`
    let calls = 0;
    export const execute = (args: string) => { calls++; if (args === "loop") for (;;); return String(calls); };`);
  const pid = pidOf(m);
  await whileNeighbourAnswers(
    (async () => {
      const looping = m.begin("loop", { timeoutMs: 100 });
      const begun = performance.now();
      expect(await looping.ended).toMatchObject({ ok: false, code: "timeout" });
      expect(performance.now() - begun).toBeLessThan(1_000);
      // Begun while the old process still spins: waits for the fresh one instead of dying with the old.
      expect(await m.result("")).toBe("1");
    })(),
  );
  expect(pidOf(m)).not.toBe(pid);
  await gone(pid, "the process that looped");
  expect(m.version.stats()).toMatchObject({ calls: 2, failures: 1, restarts: 1 });
});

test("calls in flight beside one that never ends are lost with its process, and say so", async () => {
  await using m = await loadHostile(`
    export const execute = (args: string) => args === "never" ? new Promise<string>(() => {}) : Bun.sleep(3_000).then(() => args);`);
  const innocent = m.begin("slow");
  expect(await m.failure("never", { timeoutMs: 50 })).toMatch(/^timeout: m\.ts did not answer within 50 ms/);
  expect(await innocent.ended).toMatchObject({ ok: false, code: "module_crashed" });
  expect(JSON.stringify(innocent.outcome)).toContain("did not end within 150 ms after its deadline");
});

test("a module that heeds its signal keeps its process after a timeout", async () => {
  await using m = await loadHostile(`
    export const execute = (args: string, { signal }: { signal: AbortSignal }) =>
      args === "" ? "quick" : new Promise<string>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));`);
  const pid = pidOf(m);
  expect(await m.failure("wait", { timeoutMs: 50 })).toStartWith("timeout");
  expect(await m.result()).toBe("quick");
  expect(pidOf(m)).toBe(pid);
});

test("process.exit crashes the calls of that process alone, and the next call starts another", async () => {
  await using m = await loadHostile(`
    export const execute = async (args: string) => { if (args === "exit") process.exit(3); await Bun.sleep(args === "slow" ? 5_000 : 0); return "ok"; };`);
  await whileNeighbourAnswers(
    (async () => {
      const slow = m.begin("slow");
      expect(await m.failure("exit")).toBe("module_crashed: m.ts crashed: its process exited with code 3.");
      expect(await slow.ended).toMatchObject({ code: "module_crashed" });
      expect(await m.result()).toBe("ok");
    })(),
  );
});

test("an uncaught exception in a timer ends the process, and its calls are told", async () => {
  await using m = await loadHostile(`
    export const execute = (args: string) => {
      if (args !== "late") return "ok";
      setTimeout(() => { throw new Error("too late"); }, 1);
      return Bun.sleep(5_000).then(() => "never");
    };`);
  expect(await whileNeighbourAnswers(m.failure("late"))).toBe(
    "module_crashed: m.ts crashed: uncaught exception: too late.",
  );
  expect(await m.result()).toBe("ok");
});

test("an unhandled rejection fails no call", async () => {
  await using m = await loadHostile(`
    export const execute = async (args: string) => { void Promise.reject(new Error("nobody's")); await Bun.sleep(20); return args; };`);
  const pid = pidOf(m);
  expect(await m.result("kept")).toBe("kept");
  expect(pidOf(m)).toBe(pid);
});

test("a segmentation fault ends the module's process only", async () => {
  await using m = await loadHostile(`
    import { CString, type Pointer } from "bun:ffi";
    export const execute = (args: string) => args === "" ? "ok" : String(new CString(8 as Pointer));`);
  expect(await whileNeighbourAnswers(m.failure("crash"))).toMatch(
    /^module_crashed: .* its process was ended by SIG/,
  );
  expect(await m.result()).toBe("ok");
});

test("a module that kills itself with a signal is reported with that signal", async () => {
  await using m = await loadHostile(
    `export const execute = () => { process.kill(process.pid, "SIGABRT"); for (;;); };`,
  );
  expect(await m.failure()).toContain("was ended by SIGABRT");
});

test("a module that takes too much memory is killed, and its calls are told why", async () => {
  await using m = await loadHostile(
    `const kept: Uint8Array[] = [];
     export const execute = async (args: string) => {
       for (; args !== ""; ) { kept.push(new Uint8Array(8 * 1024 * 1024).fill(1)); await Bun.sleep(2); }
       return "ok";
     };`,
    { limits: { maxModuleMemoryBytes: 150 * MiB } },
  );
  const before = process.memoryUsage.rss();
  expect(await whileNeighbourAnswers(m.failure("all"))).toMatch(
    /^module_crashed: .* used \d+ MiB of memory, the limit is 150 MiB/,
  );
  expect(process.memoryUsage.rss() - before).toBeLessThan(64 * MiB);
  expect(await m.result()).toBe("ok");
});

test("a result that is not a string fails the call, and the message says what it was", async () => {
  await using m = await loadHostile(`
    const values: Record<string, unknown> = { number: 7, nothing: undefined, object: {}, bytes: new Uint8Array(3), promise: Promise.resolve(null), list: Promise.resolve(["a"]) };
    export const execute = (args: string): any => values[args];`);
  expect(await m.failure("number")).toBe("exec_failed: execute of m.ts must return a string, not a number.");
  expect(await m.failure("nothing")).toContain("must return a string, not undefined");
  expect(await m.failure("object")).toContain("must return a string, not an object");
  expect(await m.failure("bytes")).toContain("must return a string, not bytes");
  expect(await m.failure("promise")).toContain("not a promise of null");
  expect(await m.failure("list")).toContain("not a promise of an array");
});

test("whatever a module throws is the answer", async () => {
  await using m = await loadHostile(`
    export const execute = (args: string): string => {
      if (args === "error") throw new TypeError("not that");
      if (args === "string") throw "just a string";
      if (args === "null") throw null;
      if (args === "hostile") throw { toString() { throw new Error("inner"); } };
      if (args === "getter") throw Object.defineProperty(new Error("x"), "message", { get() { throw new Error("inner"); } });
      if (args === "code") throw { get code() { throw new Error("inner"); } };
      if (args === "long") throw new Error("x".repeat(1e6));
      return "ok";
    };`);
  expect(await m.failure("error")).toBe("exec_failed: not that");
  expect(await m.failure("string")).toBe("exec_failed: just a string");
  expect(await m.failure("null")).toBe("exec_failed: null");
  expect(await m.failure("hostile")).toStartWith("exec_failed");
  expect(await m.failure("getter")).toStartWith("exec_failed");
  expect(await m.failure("code")).toStartWith("exec_failed");
  expect((await m.failure("long")).length).toBeLessThan(10_000);
  expect(await m.result()).toBe("ok");
});

test("200 MB as a result are refused in the module's process, and the server stays as it was", async () => {
  await using m = await loadHostile(
    `export const execute = (args: string) => args === "" ? "ok" : "x".repeat(200_000_000);`,
  );
  const before = process.memoryUsage.rss();
  expect(await whileNeighbourAnswers(m.failure("big"))).toMatch(
    /^too_large: The result of m\.ts has 200000000 bytes, the limit is 1048576/,
  );
  expect(process.memoryUsage.rss() - before).toBeLessThan(64 * MiB);
  expect(await m.result()).toBe("ok");
});

test("a result may have exactly the bytes of the limit and not one more", async () => {
  await using m = await loadHostile(
    `export const execute = (args: string) => "é".repeat(Number(args)) + "\\0";`,
    {
      limits: { maxResultBytes: 101 },
    },
  );
  expect(await m.result("50")).toBe(`${"é".repeat(50)}\0`);
  expect(await m.failure("51")).toStartWith("too_large");
});

const forged = {
  junk: "no frame at all\n",
  "an unsolicited answer": `host:done:zzz {"result":"x"}\n`,
  "an answer to no call in flight": `host:done:1 {"result":"x"}\n`,
  "a confirmation of no abort": `host:aborting:0 {}\n`,
  "a second ready": `host:ready:0 {}\n`,
  "another protocol": `mod:exec_resp:1 {}\n`,
  "an unknown type": `host:surprise:1 {}\n`,
  "broken JSON as a result": `host:done:0 {"result":"x}\n`,
  "an injected field": `host:done:0 {"result":"x","sum":"y"}\n`,
  "a result that is no string": `host:done:0 {"result":{}}\n`,
  "an invented code": `host:error:0 {"code":"forbidden","error":"x"}\n`,
  "bytes that are not UTF-8": 'host:done:0 {"result":"\\xff"}\n',
  "a line without an end": "x".repeat(9 * MiB),
};

for (const [what, text] of Object.entries(forged)) {
  test(`${what} on descriptor 3 ends that process and nothing else`, async () => {
    const bytes = [...Buffer.from(text.replace("\\xff", "\xff"), "latin1")];
    const literal =
      text.length > 1000
        ? `new Uint8Array(${text.length}).fill(120)`
        : `new Uint8Array(${JSON.stringify(bytes)})`;
    await using m = await loadHostile(`
      import { writeSync } from "node:fs";
      const bytes = ${literal};
      async function forge() {
        for (let from = 0; from < bytes.length; ) {
          try { from += writeSync(3, bytes, from); } catch { await Bun.sleep(1); }
        }
        await Bun.sleep(5_000);
        return "never";
      }
      export const execute = (args: string) => args === "" ? "ok" : forge();`);
    expect(await m.result()).toBe("ok");
    expect(await whileNeighbourAnswers(m.failure("forge"))).toMatch(
      /^module_crashed: .* broke the protocol between server and module host/,
    );
    expect(await m.result()).toBe("ok");
  });
}

test("a forged answer reaches the forger's own calls at most", async () => {
  await using m = await loadHostile(`
    import { writeSync } from "node:fs";
    export const execute = async () => { writeSync(3, 'host:done:0 {"result":"forged"}\\n'); await Bun.sleep(20); return "late"; };`);
  expect(await whileNeighbourAnswers(m.result())).toBe("forged");
});

test("a module that closes descriptor 3 is started again for the next call", async () => {
  await using m = await loadHostile(`
    import { closeSync } from "node:fs";
    export const execute = async (args: string) => { if (args === "") return "ok"; closeSync(3); for (;;) await Bun.sleep(1); };`);
  expect(await m.failure("close", { timeoutMs: 300 })).toMatch(/^(module_crashed|timeout)/);
  expect(await m.result()).toBe("ok");
});

test("programs that a module starts end with its process", async () => {
  await using m = await loadHostile(`
    export const permissions = { run: ["sh", "sleep"] } as const;
    export const execute = (args: string) => {
      const child = Bun.spawn(["sleep", "1000"], { stdio: ["ignore", "inherit", "inherit"] });
      const shell = Bun.spawn(["sh", "-c", "sleep 1000 & echo $!; wait"], { stdio: ["ignore", "pipe", "inherit"] });
      return new Response(shell.stdout).body!.getReader().read().then(({ value }) => {
        if (args === "exit") setTimeout(() => process.exit(0), 1);
        return [child.pid, shell.pid, Number(new TextDecoder().decode(value))].join(" ");
      });
    };`);
  const first = (await m.result("exit")).split(" ").map(Number);
  expect(first.length).toBe(3);
  for (const pid of first) await gone(pid, "a program whose host exited");
  // They end a moment before their host does, and a call in that moment would be lost with it.
  await eventually("the end of the host", () => m.version.stats().pid === undefined);
  const second = (await m.result()).split(" ").map(Number);
  expect(second.every(isAlive)).toBe(true);
  await m.version.stop();
  for (const pid of second) await gone(pid, "a program whose host was stopped");
});

test("a flood on the standard streams is bounded and blocks only the module", async () => {
  await using m = await loadHostile(`
    import { writeSync } from "node:fs";
    const block = Buffer.alloc(65536, "noise\\n");
    export const execute = (args: string) => { for (;;) writeSync(args === "out" ? 1 : 2, block); };`);
  const before = process.memoryUsage.rss();
  expect(await whileNeighbourAnswers(m.failure("out", { timeoutMs: 300 }))).toStartWith("timeout");
  expect(await whileNeighbourAnswers(m.failure("err", { timeoutMs: 300 }))).toStartWith("timeout");
  expect(process.memoryUsage.rss() - before).toBeLessThan(128 * MiB);
});

test("a flood of log frames past the library ends the process", async () => {
  await using m = await loadHostile(`
    import { writeSync } from "node:fs";
    const frames = Buffer.from('host:log:- {"level":"info","text":"x"}\\n'.repeat(1000));
    export const execute = async () => {
      for (let at = 0; ; at %= frames.length) { try { at += writeSync(3, frames, at); } catch { await Bun.sleep(0); } }
    };`);
  expect(await whileNeighbourAnswers(m.failure())).toContain("unsolicited frames a second");
});

test("a module that never reads does not make the server hold more than its queue", async () => {
  await using m = await loadHostile(
    `export const execute = (args: string) => { if (args === "spin") for (;;); return String(args.length); };`,
    {
      limits: { maxQueuedArgsBytes: 8 * MiB, execMs: 60_000 },
    },
  );
  const spinning = m.begin("spin", { timeoutMs: 60_000 });
  // Their time is over before the process is killed, which would end them otherwise.
  const calls = Array.from({ length: 64 }, () => m.begin("x".repeat(MiB), { timeoutMs: 400 }));
  const outcomes = await Promise.all(calls.map((call) => call.ended));
  const codes = outcomes.map((outcome) => (outcome.ok ? "ok" : outcome.code));
  expect(codes.filter((code) => code === "busy").length).toBeGreaterThan(32);
  expect(new Set(codes)).toEqual(new Set(["busy", "timeout"]));
  expect(spinning.outcome).toBeUndefined();
  spinning.call?.abort("cancelled", "enough");
  expect(await m.result("abc")).toBe("3");
});
