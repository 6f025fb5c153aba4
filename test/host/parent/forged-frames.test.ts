import { describe, expect, test } from "bun:test";
import { maxInputDepth, maxInputSchema } from "../../../src/manifest/export-faults.ts";
import { gone, load } from "../../helpers/versions.ts";
import { eventually, within } from "../../helpers/within.ts";

// Modules that write to their control channel past the library. What they say is bounded in number, rate, size and
// depth by the server; what is too much ends their process.

/** `say(text)` writes all of it to the control channel, waiting while that is full. */
const say = `
import { writeSync } from "node:fs";
async function say(text: string) {
  const bytes = Buffer.from(text);
  for (let from = 0; from < bytes.length; ) {
    try { from += writeSync(3, bytes, from); } catch { await Bun.sleep(1); }
  }
}
`;
/** Says its arguments, and goes on for as long as it may. */
const parrot = `${say}
export async function execute(args: string) {
  if (args === "") return "ok";
  await say(args);
  await Bun.sleep(5_000);
  return "never";
}`;
/** Says its arguments over and over. */
const repeater = `${say}
export async function execute(args: string) {
  if (args === "") return "ok";
  const text = args.repeat(100);
  for (;;) await say(text);
}`;

function violationOf(failure: string): string {
  return /^module_crashed: m\.ts crashed: it broke the protocol [^:]*: (.*)$/.exec(failure)?.[1] ?? failure;
}

describe("what a process may say once", () => {
  test.each([
    ["ready", 'host:ready:0 {"desc":"another"}\n'],
    ["failed, after it was ready", 'host:failed:0 {"error":"after all"}\n'],
  ])("is %s: it ends the process when it comes again", async (_, frame) => {
    await using m = await load(parrot);
    expect(violationOf(await m.failure(frame))).toContain("unexpected frame");
    expect(await m.result()).toBe("ok");
  });

  test("is why it is about to end: the first reason stands, and the second one ends it", async () => {
    await using m = await load(repeater);
    const { pid } = m.version.stats();
    expect(await m.failure('host:fatal:0 {"error":"I am done"}\n')).toBe(
      "module_crashed: m.ts crashed: I am done.",
    );
    await gone(pid ?? 0, "the process");
    expect(await m.result()).toBe("ok");
  });

  test("is that it does not load: it cannot be ready then", async () => {
    const loading = load(`${say}
      await say('host:failed:0 {"error":"no"}\\nhost:failed:0 {"error":"no"}\\nhost:ready:0 {}\\n');
      export const execute = () => "ok";`);
    expect(await messageOf(loading)).toBe("no");
  });
});

async function messageOf(loading: Promise<AsyncDisposable>): Promise<string> {
  try {
    await (await loading)[Symbol.asyncDispose]();
  } catch (error) {
    return `${(error as Error).message}`;
  }
  return "It was loaded.";
}

describe("a forged report of a module", () => {
  /** Loads a module that forges `ready` with this payload before its own. */
  const forging = (payload: string, moreCode = "") =>
    // Its description and schema can change, so they are known from the process alone.
    load(`${say}${moreCode}
      export let description: string | undefined;
      export let input: object | undefined;
      await say(\`host:ready:0 ${payload}\\n\`);
      export const execute = () => "ok";`);
  const nested = (depth: string) => `\${'{"a":'.repeat(${depth})}1\${"}".repeat(${depth})}`;

  test.each([
    [
      "deeper than the limit",
      `{"input":${nested(String(maxInputDepth + 1))}}`,
      "nests deeper than 64 levels",
    ],
    ["so deep that it cannot be written again", `{"input":${nested("200_000")}}`, "characters, the limit is"],
    ["in another field", `{"limits":{"x":${nested("100")}}}`, "nests deeper than 64 levels"],
    ["with a long description", `{"desc":"\${"x".repeat(4097)}"}`, "desc: "],
    [
      "with a long schema",
      `{"input":{"title":"\${"x".repeat(${maxInputSchema})}"}}`,
      "input: must have at most",
    ],
    [
      "with a schema that is long when it is written again",
      `{"input":{"enum":[\${"1e20,".repeat(30_000)}1]}}`,
      "input: must have at most",
    ],
    ["with megabytes in a field that is not known", `{"x":"\${"x".repeat(4_000_000)}"}`, "the limit is"],
  ])("%s is a failure to load, and says why", async (_, payload, words) => {
    const begun = performance.now();
    const message = await messageOf(forging(payload));
    expect(message).toStartWith("m.ts does not load: it broke the protocol");
    expect(message).toContain(words);
    expect(message.length).toBeLessThan(500);
    expect(performance.now() - begun).toBeLessThan(3_000);
  });

  test("at the limits is as good as any, once", async () => {
    const input = `{"a":${nested(String(maxInputDepth - 1))}}`;
    expect(await messageOf(forging(`{"desc":"\${"x".repeat(4096)}","input":${input}}`))).toBe(
      "It was loaded.",
    );
  });
});

test("a module whose own schema nests too deep is told so", async () => {
  const schema = (depth: number) => `
    let input: object = { type: "string" };
    for (let depth = 1; depth < ${depth}; depth++) input = { not: input };
    export { input };
    export const execute = () => "ok";`;
  expect(await messageOf(load(schema(maxInputDepth)))).toBe("It was loaded.");
  expect(await messageOf(load(schema(maxInputDepth + 1)))).toBe(
    "m.ts: 'input' nests deeper than 64 levels, the limit.",
  );
});

describe("progress past the library", () => {
  test("as a flood ends the process before many reports have come", async () => {
    await using m = await load(repeater);
    const call = m.begin('host:progress:0 {"message":"x"}\n');
    expect(await within(5_000, "the end", call.ended)).toMatchObject({ code: "module_crashed" });
    expect(JSON.stringify(call.outcome)).toContain("one report in 100 ms");
    expect(call.progressReports.length).toBeLessThan(20);
  });

  test("is passed on once in 100 ms, the newest, and the last one at the end", async () => {
    await using m = await load(`${say}
      export async function execute() {
        for (let step = 0; step <= 20; step++) {
          await say('host:progress:0 {"message":"' + step + '"}\\n');
          if (step < 20) await Bun.sleep(55);
        }
        return "ok";
      }`);
    const call = m.begin();
    const times: number[] = [];
    call.onProgress = () => times.push(performance.now());
    expect(await call.ended).toMatchObject({ ok: true });
    const steps = call.progressReports.map((report) => Number((report as { message: string }).message));
    expect(steps.length).toBeLessThan(16);
    expect([steps[0], steps.at(-1)]).toEqual([0, 20]);
    expect(steps).toEqual(steps.toSorted((a, b) => a - b));
    const gaps = times.slice(1, -1).map((time, index) => time - (times[index] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThan(90);
  });

  test.each([
    [
      "with a message of more than a kibibyte",
      `{"message":"${"é".repeat(513)}"}`,
      "message: must have at most",
    ],
    [
      "with megabytes in a field that is not known",
      `{"x":"${"x".repeat(100_000)}"}`,
      "characters, the limit is",
    ],
    ["with a fraction that is none", '{"fraction":2}', "fraction: "],
  ])("%s ends the process", async (_, payload, words) => {
    await using m = await load(parrot);
    expect(violationOf(await m.failure(`host:progress:0 ${payload}\n`))).toContain(words);
  });

  test("of a kibibyte passes, and by the library a longer message is cut to that", async () => {
    await using m = await load(
      "export const execute = (args: string, ctx: any) => { ctx.progress(0.5, args); return 'ok'; };",
    );
    for (const [given, got] of [
      ["é".repeat(512), "é".repeat(512)],
      ["é".repeat(513), `${"é".repeat(510)}…`],
      [`a${"😀".repeat(400)}`, `a${"😀".repeat(255)}…`],
    ] as const) {
      const call = m.begin(given);
      expect(await call.ended).toMatchObject({ ok: true });
      expect(call.progressReports).toEqual([{ fraction: 0.5, message: got }]);
    }
  });

  test("of many short calls, one report each, is no flood", async () => {
    await using m = await load(
      "export const execute = (args: string, ctx: any) => { ctx.progress(1, args); return args; };",
    );
    let reports = 0;
    for (let round = 0; round < 100; round++) {
      const calls = Array.from({ length: 100 }, (_, index) => m.begin(String(index)));
      await Promise.all(calls.map(({ ended }) => ended));
      reports += calls.reduce((sum, { progressReports }) => sum + progressReports.length, 0);
    }
    expect(reports).toBe(10_000);
  });
});

test("parts of more bytes than there was credit for end the process, and little of them comes", async () => {
  await using m = await load(parrot);
  const call = m.begin(`host:part:0 {"data":"${"x".repeat(200_000)}"}\n`.repeat(8));
  call.reads = false;
  expect(await call.ended).toMatchObject({ code: "module_crashed" });
  expect(JSON.stringify(call.outcome)).toContain("more parts than it had credit for");
  expect(call.parts.length).toBe(2);
});

test("log lines of more characters a second than any honest process writes end the process", async () => {
  // A low limit, which even a slow machine exceeds.
  await using m = await load(repeater, { limits: { maxLogLinesPerSecond: 1 } });
  const frame = `host:log:- {"level":"info","text":"${"\\u0000".repeat(16_000)}"}\n`;
  expect(violationOf(await m.failure(frame))).toContain("characters a second in unsolicited frames");
});

test("an abort that is confirmed twice ends the process", async () => {
  await using m = await load(`${say}
    export async function execute(args: string, { signal }: { signal: AbortSignal }) {
      if (args === "") return "ok";
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      await say("host:aborting:0 {}\\n");
      await Bun.sleep(5_000);
      return "never";
    }`);
  const { pid } = m.version.stats();
  const call = m.begin("wait");
  await eventually("the call to run", () => m.version.stats().inFlight === 1);
  call.call?.abort("cancelled", "enough");
  await gone(pid ?? 0, "the process");
  expect(await m.result()).toBe("ok");
});
