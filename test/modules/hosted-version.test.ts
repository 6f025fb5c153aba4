import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { withDefaultLimits } from "../../src/base/limits.ts";
import { loadVersion } from "../../src/modules/hosted-version.ts";
import { childrenOf, hasProcfs } from "../helpers/procfs.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { client, gone, isAlive, load, RecordedCall, sourceOf } from "../helpers/versions.ts";
import { eventually, within } from "../helpers/within.ts";

test("a version knows its module's description and input, and answers calls with JSON text", async () => {
  await using m = await load(`
    export const description = "says hello";
    export const input = { type: "string" };
    export async function execute(args: string): Promise<string> { return "Hello, " + JSON.parse(args) + "!\\n\\u2028\\ud83d\\ude00"; }`);
  const { version } = m;
  expect([version.mod, version.desc, version.input]).toEqual(["m.ts", "says hello", { type: "string" }]);
  expect(version.tree).toBe(version.source.tree);
  expect(await m.call('"World"')).toEqual({
    ok: true,
    resultJson: JSON.stringify("Hello, World!\n\u2028😀"),
  });
});

test("a call is told of its client, reference, module and tree, and never of another call's", async () => {
  await using m = await load(`
    export async function execute(_args: string, ctx: any) {
      await Bun.sleep(1);
      return JSON.stringify([ctx.client, ctx.ref, ctx.mod, ctx.tree, ctx.signal.aborted]);
    }`);
  const other = { fingerprint: "cd".repeat(32) };
  const [one, two] = await Promise.all([
    m.result("", { ref: "a" }),
    m.result("", { ref: "b", client: other }),
  ]);
  expect(JSON.parse(one)).toEqual([client, "a", "m.ts", m.version.tree, false]);
  expect(JSON.parse(two)).toEqual([other, "b", "m.ts", m.version.tree, false]);
});

test("more clients than a host remembers are still told apart, also when one is renamed", async () => {
  await using m = await load(
    "export const execute = async (_: string, ctx: any) => { await 1; return JSON.stringify(ctx.client); };",
  );
  for (const name of ["a", "b"]) {
    const clients = Array.from({ length: 600 }, (_, i) => ({
      fingerprint: String(i % 300).padStart(64, "0"),
      name,
    }));
    const told = await Promise.all(clients.map((each) => m.result("", { client: each })));
    expect(told.map((text) => JSON.parse(text))).toEqual(clients);
  }
});

test("permissions, description and schema are those of the source; what is computed is the process's", async () => {
  await using plain = await load(
    `export const description = "plain"; export const input = { type: "string" };
     export const permissions = { run: ["git", "date", "git"] }; export const execute = () => "";`,
  );
  expect(plain.version).toMatchObject({
    desc: "plain",
    input: { type: "string" },
    permissions: { run: ["date", "git"] },
    describedBy: "source",
  });
  await using computed = await load(
    `export const description = ["com", "puted"].join(""); export const execute = () => "";`,
  );
  expect(computed.version).toMatchObject({ desc: "computed", permissions: {}, describedBy: "server" });
});

const broken: Record<string, [text: string, message: RegExp]> = {
  "no execute": ["export const description = 'x';", /^m\.ts exports no function 'execute'/],
  "a default function only": [
    "export default () => 'x';",
    /^m\.ts exports no function 'execute'. It exports default/,
  ],
  "an execute that is not a function": [
    "export const execute = 'x';",
    /^m\.ts:1:14: 'execute' must be a function/,
  ],
  "a class as execute": ["export class execute {}", /not as a class/],
  "a description that is not a string": [
    "export const description = 7; export const execute = () => '';",
    /^m\.ts:1:28: 'description' must be a string/,
  ],
  "an input that is not an object": [
    "export const input = []; export const execute = () => '';",
    /^m\.ts:1:22: 'input' must be a JSON Schema object/,
  ],
  "an invalid schema": [
    "export const input = { properties: { a: { type: 'strin' } } }; export const execute = () => '';",
    /an invalid JSON Schema as 'input': input\.properties\.a\.type/,
  ],
  "an unknown limit": [
    "export const limits = { execSeconds: 1 }; export const execute = () => '';",
    /^m\.ts:1:23: 'limits' has the unknown key 'execSeconds'/,
  ],
  "a limit that is too low": [
    "export const limits = { execMs: 0 }; export const execute = () => '';",
    /^m\.ts:1:33: 'limits.execMs' must be at least 1/,
  ],
  "a throw at the top": [
    "export const execute = () => ''; throw new Error('not today');",
    /^m\.ts does not load: not today/,
  ],
  "an exit at the top": [
    "process.exit(4); export const execute = () => '';",
    /does not load: its process exited with code 4/,
  ],
  "a name that is not exported": [
    "import { nope } from 'node:fs'; export const execute = () => String(nope);",
    /^m\.ts does not load: .*nope/,
  ],
};

for (const [what, [text, message]] of Object.entries(broken)) {
  test(`${what} is a load error with the file's name`, async () => {
    const loading = loadVersion(await sourceOf(text), { limits: withDefaultLimits() });
    expect(loading).rejects.toMatchObject({ code: "bad_module", message: expect.stringMatching(message) });
    await loading.catch(() => {});
  });
}

test.skipIf(!hasProcfs)(
  "a module that does not finish loading is given up after loadMs, and no process is left",
  async () => {
    const before = childrenOf(process.pid);
    const source = await sourceOf(`for (;;); export const execute = () => "";`);
    const loading = loadVersion(source, { limits: withDefaultLimits({ loadMs: 200 }) });
    const outcome = loading.then(() => "it loaded", String);
    const pid = await eventually("its process", () =>
      childrenOf(process.pid).find((child) => !before.includes(child)),
    );
    expect(await outcome).toMatch(/m\.ts does not load: it did not load within 200 ms/);
    expect(isAlive(pid)).toBe(false);
  },
);

test("a module's limits tighten the server's and never widen them", async () => {
  await using m = await load(
    `export const limits = { execMs: 1500, maxResultBytes: 5000, maxCallsInFlight: 1, maxCallsQueued: 1 };
     export const execute = async (args: string) => { await Bun.sleep(args === "slow" ? 5_000 : 0); return "x".repeat(Number(args) || 0); };`,
    { limits: { maxResultBytes: 100 } },
  );
  expect(await m.failure("slow", { timeoutMs: 5_000 })).toContain("within 1500 ms");
  expect(await m.result("100")).toHaveLength(100);
  expect(await m.failure("101")).toContain("the limit is 100");
  const slow = [m.begin("slow"), m.begin("slow")];
  expect(await m.failure("1")).toStartWith("busy: m.ts has 1 calls in flight and 1 waiting");
  for (const call of slow) await call.ended;
});

test("a module that has no queue still has its process started by a call", async () => {
  await using m = await load(`
    export const limits = { maxCallsQueued: 0 };
    export const execute = (args: string) => args === "exit" ? process.exit(0) : "ok";`);
  await m.failure("exit");
  expect(await m.result()).toBe("ok");
});

test("calls beyond the limit wait in order, and beyond the queue they are refused", async () => {
  await using m = await load(
    `let most = 0, now = 0; const order: string[] = [];
     export const execute = async (args: string) => {
       if (args === "report") return JSON.stringify([most, order]);
       most = Math.max(most, ++now); order.push(args); await Bun.sleep(20); now--; return args;
     };`,
    { limits: { maxCallsInFlight: 2, maxCallsQueued: 4 } },
  );
  const calls = Array.from({ length: 8 }, (_, index) => m.begin(String(index)));
  const outcomes = await Promise.all(calls.map((call) => call.ended));
  expect(outcomes.map((outcome) => outcome.ok || outcome.code)).toEqual([
    ...Array(6).fill(true),
    "busy",
    "busy",
  ]);
  expect(JSON.parse(await m.result("report"))).toEqual([2, ["0", "1", "2", "3", "4", "5"]]);
});

test("a call whose deadline passes in the queue never runs", async () => {
  await using m = await load(
    `let ran = 0;
     export const execute = async (args: string, { signal }: any) => {
       ran++;
       if (args === "slow") await new Promise((resolve) => signal.addEventListener("abort", resolve));
       return String(ran);
     };`,
    { limits: { maxCallsInFlight: 1 } },
  );
  const slow = m.begin("slow");
  expect(await m.failure("", { timeoutMs: 50 })).toMatch(/^timeout: m\.ts was busy/);
  slow.call?.abort("cancelled", "enough");
  expect(await m.result()).toBe("2");
});

test("a cancelled call ends at once, its module sees the signal, and others are not disturbed", async () => {
  await using m = await load(`
    let aborted = "";
    export const execute = (args: string, ctx: any) => {
      if (args === "") return aborted;
      return new Promise<string>((resolve) => ctx.signal.addEventListener("abort", () => { aborted += ctx.ref + ctx.signal.reason.message; resolve("late"); }));
    };`);
  const call = m.begin("wait", { ref: "r9" });
  const other = m.begin("wait");
  expect(await m.result()).toBe("");
  call.call?.abort("cancelled", "The client cancelled.");
  expect(call.outcome).toEqual({ ok: false, code: "cancelled", message: "The client cancelled." });
  call.call?.abort("cancelled", "again");
  expect(await eventually("the signal", () => m.result())).toBe("r9The client cancelled.");
  expect(other.outcome).toBeUndefined();
});

test("a cancelled call that ignores its signal does not cost other calls their process", async () => {
  await using m = await load(
    `export const execute = async (args: string) => { await Bun.sleep(Number(args)); return args; };`,
    { limits: { killGraceMs: 1_000 } },
  );
  const { pid } = m.version.stats();
  const innocent = m.begin("1500");
  const deaf = m.begin("2500");
  deaf.call?.abort("cancelled", "enough");
  // Well past killGraceMs of the cancelled one.
  expect(await innocent.ended).toMatchObject({ ok: true });
  expect(await m.result("0")).toBe("0");
  expect(m.version.stats().pid).toBe(pid);
});

test("a cancelled call that spins has its process killed", async () => {
  await using directory = await temporaryDirectory();
  const begun = join(directory.path, "begun");
  await using m = await load(`
    import { writeFileSync } from "node:fs";
    export const permissions = "all";
    export const execute = (args: string) => {
      if (args === "") return "ok";
      writeFileSync(args, "");
      for (;;);
    };`);
  const call = m.begin(begun);
  await eventually("its beginning", () => existsSync(begun));
  call.call?.abort("cancelled", "enough");
  expect(await m.result()).toBe("ok");
  expect(m.version.stats().restarts).toBe(1);
});

test("a call that is cancelled while it waits never runs", async () => {
  await using m = await load(
    `let ran = 0; export const execute = async (args: string) => { ran++; if (args === "slow") await Bun.sleep(50); return String(ran); };`,
    { limits: { maxCallsInFlight: 1 } },
  );
  const slow = m.begin("slow");
  const waiting = m.begin("");
  waiting.call?.abort("cancelled", "no longer");
  expect(waiting.outcome).toMatchObject({ code: "cancelled" });
  await slow.ended;
  expect(await m.result()).toBe("2");
});

test("a host that dies between calls is started again by the next one", async () => {
  await using m = await load(`export const execute = () => String(process.pid);`);
  const first = Number(await m.result());
  process.kill(first, "SIGKILL");
  await eventually("the version to notice", () => m.version.stats().state === "idle");
  const second = Number(await m.result());
  expect(second).not.toBe(first);
  expect(m.version.stats()).toMatchObject({ state: "running", restarts: 1, pid: second });
});

test("a module that dies at every start is retried after growing pauses and reported as failing", async () => {
  await using directory = await temporaryDirectory();
  const marker = join(directory.path, "broken");
  const starts = join(directory.path, "starts");
  await using m = await load(`
    import { appendFileSync, existsSync } from "node:fs";
    export const permissions = "all";
    appendFileSync(${JSON.stringify(starts)}, "x");
    if (existsSync(${JSON.stringify(marker)})) process.exit(9);
    export const execute = (args: string) => args === "die" ? process.exit(1) : "ok";`);
  await writeFile(marker, "");
  expect(await m.failure("die")).toStartWith("module_crashed");
  const refused = await m.failure();
  expect(refused).toContain(
    "m.ts does not load: its process exited with code 9. It can be tried again in 1 s",
  );
  expect(m.version.stats().state).toBe("failing");
  // Refused at once and without another start, however often it is called.
  for (let i = 0; i < 50; i++) expect(m.begin().outcome).toMatchObject({ ok: false, code: "module_crashed" });
  expect((await Bun.file(starts).text()).length).toBe(2);
  await rm(marker);
  const recovered = await eventually("the next attempt", async () => (await m.call()).ok, 4_000);
  expect(recovered).toBe(true);
  expect(m.version.stats()).toMatchObject({ state: "running", restarts: 2 });
});

test("a host that dies right after each start counts as failing too", async () => {
  await using directory = await temporaryDirectory();
  const end = join(directory.path, "end");
  await using m = await load(`
    import { existsSync } from "node:fs";
    setInterval(() => { if (existsSync(${JSON.stringify(end)})) process.exit(2); }, 5);
    export const execute = () => "ok";`);
  await writeFile(end, "");
  await eventually("the report", () => m.version.stats().state === "failing");
  expect(await m.failure()).toContain("its process exited with code 2. It can be tried again");
});

test("a host without calls is stopped after idleStopMs, and the next call starts another", async () => {
  await using m = await load(`export const execute = () => String(process.pid);`, {
    limits: { idleStopMs: 100 },
  });
  const first = Number(await m.result());
  await eventually("the version to be idle", () => m.version.stats().state === "idle");
  await gone(first, "the idle host");
  expect(m.version.stats()).toMatchObject({ state: "idle", pid: undefined, memoryBytes: undefined });
  const second = Number(await m.result());
  expect(second).not.toBe(first);
});

test("a host is not idle while a call runs", async () => {
  await using m = await load(`export const execute = async () => { await Bun.sleep(400); return "done"; };`, {
    limits: { idleStopMs: 60 },
  });
  expect(await m.result()).toBe("done");
});

test("stop lets calls in flight end, refuses new ones, and leaves no process", async () => {
  const m = await load(
    `export const execute = async (args: string) => { await Bun.sleep(100); return args; };`,
  );
  const { pid = 0 } = m.version.stats();
  const call = m.begin("in time");
  const stopped = m.version.stop(5_000);
  expect(await m.failure("late")).toBe("shutting_down: m.ts is being stopped.");
  expect(await call.ended).toEqual({ ok: true, resultJson: '"in time"' });
  await within(3_000, "the stop", stopped);
  expect(isAlive(pid)).toBe(false);
  expect(m.version.stats()).toMatchObject({ state: "stopped", current: false, pid: undefined });
});

test("stop ends by force what has not ended in time, after the module has had its signal", async () => {
  await using directory = await temporaryDirectory();
  const note = join(directory.path, "note");
  const m = await load(
    `
    import { writeFileSync } from "node:fs";
    export const permissions = "all";
    export const execute = (args: string, ctx: any) => new Promise<string>(() => {
      ctx.signal.addEventListener("abort", () => writeFileSync(${JSON.stringify(note)}, "tidied up"));
      writeFileSync(args, "");
    });`,
    { limits: { killGraceMs: 500 } },
  );
  const { pid = 0 } = m.version.stats();
  const call = m.begin(`${note}-begun`);
  await eventually("its beginning", () => existsSync(`${note}-begun`));
  const begun = performance.now();
  await within(3_000, "the stop", m.version.stop(100));
  expect(performance.now() - begun).toBeLessThan(1_500);
  expect(call.outcome).toMatchObject({ ok: false, code: "shutting_down" });
  expect(existsSync(note)).toBe(true);
  expect(isAlive(pid)).toBe(false);
});

test("a later stop may shorten the first one's time", async () => {
  const m = await load(`export const execute = () => { for (;;); };`);
  const call = m.begin();
  const first = m.version.stop(60_000);
  await within(3_000, "the stop", Promise.all([first, m.version.stop(50), m.version.stop(60_000)]));
  expect(call.outcome).toMatchObject({ code: "shutting_down" });
});

test("a version that is stopped while its host starts leaves nothing behind", async () => {
  await using directory = await temporaryDirectory();
  const pids = join(directory.path, "pids");
  const m = await load(`
    import { appendFileSync } from "node:fs";
    export const permissions = "all";
    appendFileSync(${JSON.stringify(pids)}, process.pid + "\\n");
    export const execute = () => String(process.pid);`);
  process.kill(Number(await m.result()), "SIGKILL");
  await eventually("the version to notice", () => m.version.stats().state === "idle");
  const call = m.begin();
  await within(3_000, "the stop", m.version.stop());
  expect(call.outcome).toMatchObject({ code: "shutting_down" });
  for (const pid of (await Bun.file(pids).text()).trim().split("\n")) await gone(Number(pid), "a host");
});

test("a replaced version goes on answering and is no longer current", async () => {
  await using m = await load(`export const execute = () => "still";`);
  expect(m.version.stats().current).toBe(true);
  m.version.replaced();
  expect(m.version.stats().current).toBe(false);
  expect(await m.result()).toBe("still");
});

test("stats count calls, failures and run times", async () => {
  await using m = await load(
    `export const execute = async (args: string) => { if (args === "fail") throw new Error("x"); await Bun.sleep(Number(args)); return ""; };`,
  );
  expect(m.version.stats()).toMatchObject({
    calls: 0,
    failures: 0,
    restarts: 0,
    inFlight: 0,
    p50Ms: undefined,
    p99Ms: undefined,
  });
  for (let i = 0; i < 20; i++) await m.result("0");
  await m.result("600");
  await m.failure("fail");
  const { calls, failures, p50Ms = 0, p99Ms = 0, memoryBytes = 0 } = m.version.stats();
  expect([calls, failures]).toEqual([22, 1]);
  expect(p50Ms).toBeLessThan(300);
  expect(p99Ms).toBeGreaterThan(550);
  if (process.platform === "linux") expect(memoryBytes).toBeGreaterThan(500_000);
});

test("the sink is given its end even when that comes before call() returns", async () => {
  await using m = await load(`export const execute = () => "ok";`);
  await m.version.stop();
  const sink = new RecordedCall();
  const call = m.version.call({ argsJson: '""', timeoutMs: 100, client, ref: "r" }, sink);
  expect(sink.outcome).toMatchObject({ ok: false, code: "shutting_down" });
  call.abort("cancelled", "late");
  call.resume();
});
