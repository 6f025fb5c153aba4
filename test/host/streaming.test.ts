import { expect, test } from "bun:test";
import { partWindow } from "../../src/host/protocol.ts";
import { load } from "../helpers/versions.ts";
import { eventually } from "../helpers/within.ts";

test("each yielded string is a part, in order, and what is returned is the result", async () => {
  await using m = await load(
    `export async function* execute(args: string) { for (const word of args.split(" ")) yield word; return "end"; }`,
  );
  const call = m.begin('one two "three"\n');
  expect(await call.ended).toEqual({ ok: true, resultJson: '"end"' });
  expect(call.parts).toEqual(["one", "two", '"three"\n']);
});

test("a generator that returns nothing has an empty result", async () => {
  await using m = await load(`export async function* execute() { yield "x"; }`);
  const call = m.begin();
  expect(await call.ended).toEqual({ ok: true, resultJson: '""' });
});

test("parts come while the generator still runs", async () => {
  await using m = await load(
    `export async function* execute(args: string, ctx: any) { yield "first"; await new Promise((go) => ctx.signal.addEventListener("abort", go)); }`,
  );
  const call = m.begin();
  await eventually("the first part", () => call.parts.length === 1);
  expect(call.outcome).toBeUndefined();
  call.call?.abort("cancelled", "seen enough");
});

test("a long stream passes whole through the window", async () => {
  await using m = await load(
    `export async function* execute(n: string) { for (let i = 0; i < Number(n); i++) yield String(i); }`,
  );
  const call = m.begin("5000");
  expect((await call.ended).ok).toBe(true);
  expect(call.parts).toEqual(Array.from({ length: 5000 }, (_, i) => String(i)));
});

test("a reader that is slow stops the generator within the window, and resume lets it go on", async () => {
  await using m = await load(`
    let yielded = 0;
    export function execute(args: string): any { return args === "" ? String(yielded) : stream(); }
    async function* stream() { for (let i = 0; i < 500; i++) { yielded++; yield String(i); } }`);
  const call = m.begin("stream");
  call.reads = false;
  await eventually("the window to be full", () => call.parts.length === partWindow.parts);
  expect(await m.result()).toBe(String(partWindow.parts));
  call.reads = true;
  call.call?.resume();
  expect((await call.ended).ok).toBe(true);
  expect(call.parts.length).toBe(500);
});

test("large parts fill the window by their bytes", async () => {
  await using m = await load(`
    let yielded = 0;
    export function execute(args: string): any { return args === "" ? String(yielded) : stream(); }
    async function* stream() { for (let i = 0; i < 20; i++) { yielded++; yield "x".repeat(100_000); } }`);
  const call = m.begin("stream");
  call.reads = false;
  await eventually("three parts", () => call.parts.length === 3);
  expect(await m.result()).toBe("3");
  call.reads = true;
  call.call?.resume();
  expect((await call.ended).ok).toBe(true);
  expect(call.parts.length).toBe(20);
});

test("cancelling a stream runs the generator's finally and sends nothing more", async () => {
  await using m = await load(`
    let finished = "no";
    export function execute(args: string): any { return args === "" ? finished : stream(); }
    async function* stream() { try { for (;;) { yield "x"; await Bun.sleep(1); } } finally { finished = "yes"; } }`);
  const { pid } = m.version.stats();
  const call = m.begin("stream");
  await eventually("a part", () => call.parts.length > 2);
  call.call?.abort("cancelled", "enough");
  const seen = call.parts.length;
  await eventually("the finally", async () => (await m.result()) === "yes");
  expect(call.parts.length).toBe(seen);
  expect(m.version.stats().pid).toBe(pid as number);
});

test("cancelling a stream that waits for its reader ends it", async () => {
  await using m = await load(`
    let finished = "no";
    export function execute(args: string): any { return args === "" ? finished : stream(); }
    async function* stream() { try { for (;;) yield "x"; } finally { finished = "yes"; } }`);
  const call = m.begin("stream");
  call.reads = false;
  await eventually("the window to be full", () => call.parts.length === partWindow.parts);
  call.call?.abort("cancelled", "enough");
  await eventually("the finally", async () => (await m.result()) === "yes");
});

test("a generator that throws after some parts fails with what it threw", async () => {
  await using m = await load(`export async function* execute() { yield "a"; throw new Error("broke off"); }`);
  const call = m.begin();
  expect(await call.ended).toEqual({ ok: false, code: "exec_failed", message: "broke off" });
  expect(call.parts).toEqual(["a"]);
});

test("a part that is not a string, or too large, ends the stream with an error", async () => {
  await using m = await load(
    `export async function* execute(args: string): any { yield "ok"; yield args === "" ? 7 : "é".repeat(Number(args)); }`,
    {
      limits: { maxPartBytes: 100 },
    },
  );
  expect(await m.failure()).toBe("exec_failed: execute of m.ts must yield strings, not a number.");
  expect(await m.failure("51")).toBe(
    "too_large: execute of m.ts yielded a part of 102 bytes, the limit is 100.",
  );
  expect(await m.call("50")).toMatchObject({ ok: true });
});

test("parts beyond the window, written past the library, end the process", async () => {
  await using m = await load(`
    import { writeSync } from "node:fs";
    export const execute = async () => { for (let i = 0; i < 40; i++) writeSync(3, 'host:part:1 {"data":"x"}\\n'); await Bun.sleep(2_000); return ""; };`);
  const call = m.begin();
  call.reads = false;
  expect(await call.ended).toMatchObject({ code: "module_crashed" });
  expect(call.parts.length).toBeLessThanOrEqual(partWindow.parts);
});

test("progress is bounded in rate, the last report arrives, and fractions are kept in range", async () => {
  await using m = await load(`
    export const execute = async (_: string, ctx: any) => {
      for (let i = 0; i <= 1000; i++) { ctx.progress(i / 500, "step " + i); if (i % 100 === 0) await Bun.sleep(1); }
      return "done";
    };`);
  const call = m.begin();
  expect((await call.ended).ok).toBe(true);
  expect(call.progressReports.length).toBeLessThan(10);
  expect(call.progressReports[0]).toEqual({ fraction: 0, message: "step 0" });
  expect(call.progressReports.at(-1)).toEqual({ fraction: 1, message: "step 1000" });
});

test("parts of a destructured context work on their own", async () => {
  await using m = await load(`
    export async function execute(args: string, { signal, client, ref, mod, tree, log, progress }: any) {
      const { info } = log;
      info("by itself");
      progress(0.5, [signal.aborted, client.name, ref, mod, tree.length].join(" "));
      return "done";
    }`);
  const call = m.begin();
  expect(await call.ended).toMatchObject({ ok: true });
  expect(call.progressReports).toEqual([{ fraction: 0.5, message: "false tester r1 m.ts 64" }]);
});

test("progress without a fraction has only its message", async () => {
  await using m = await load(
    `export const execute = (_: string, ctx: any) => { ctx.progress(undefined, "somewhere"); return ""; };`,
  );
  const call = m.begin();
  await call.ended;
  expect(call.progressReports).toEqual([{ message: "somewhere" }]);
});
