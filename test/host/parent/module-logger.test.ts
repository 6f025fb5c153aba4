import { afterAll, beforeAll, expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { ModuleLogger } from "../../../src/host/parent/module-logger.ts";
import { load } from "../../helpers/versions.ts";
import { eventually } from "../../helpers/within.ts";

const records: LogRecord[] = [];

beforeAll(async () => {
  await configure({
    reset: true,
    sinks: { memory: (record) => records.push(record) },
    loggers: [
      { category: "veripy", sinks: ["memory"], lowestLevel: "debug" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
    ],
  });
});

afterAll(async () => {
  await reset();
});

/** `level text` of the lines of one module. */
function linesOf(mod: string): string[] {
  return records
    .filter((record) => record.properties.mod === mod)
    .map((record) => `${record.level} ${String(record.properties.text)}`);
}

test("console, ctx.log and the standard streams reach the log with level and module", async () => {
  await using m = await load({
    "talks.ts": `
      export const execute = (_: string, ctx: any) => {
        console.log("plain", 7, { a: [1] }); console.warn("%s of %d", "two", 2); console.error("bad"); console.debug("detail");
        ctx.log.info("with the call");
        console.table([{ x: 1 }]); process.stdout.write("raw out\\n"); process.stderr.write("raw err\\n");
        console.log("two\\nlines");
        return "";
      };`,
  });
  await m.result("", { ref: "call-1" });
  const lines = await eventually("all lines", () => {
    const found = linesOf("talks.ts");
    return (
      found.some((line) => line.includes("raw err")) &&
      found.some((line) => line.includes("raw out")) &&
      found
    );
  });
  expect(lines).toContain("info plain 7 { a: [ 1 ] }");
  expect(lines).toContain("warning two of 2");
  expect(lines).toContain("error bad");
  expect(lines).toContain("debug detail");
  expect(lines).toContain("info raw out");
  expect(lines).toContain("error raw err");
  expect(lines).toContain("info two");
  expect(lines).toContain("info lines");
  expect(lines.some((line) => line.startsWith("info ") && line.includes("│"))).toBe(true);
  const tagged = records.find((record) => record.properties.text === "with the call");
  expect(tagged?.properties).toMatchObject({ mod: "talks.ts", tree: m.version.tree, ref: "call-1" });
});

test("more lines than the limit are dropped and counted", async () => {
  await using m = await load(
    {
      "floods.ts": `export const execute = async () => { for (let i = 0; i < 5000; i++) console.log("line " + i); await Bun.sleep(1_100); console.log("after"); return ""; };`,
    },
    { limits: { maxLogLinesPerSecond: 20 } },
  );
  await m.result();
  const lines = await eventually(
    "the line after",
    () => linesOf("floods.ts").some((l) => l.includes("after")) && linesOf("floods.ts"),
  );
  expect(lines.length).toBeLessThanOrEqual(62);
  expect(lines.at(-1)).toMatch(/^info after \(\d+ lines before this one were dropped\)$/);
});

test("lines past the library are bounded too", async () => {
  await using m = await load(
    {
      "raw.ts": `import { writeSync } from "node:fs"; export const execute = () => { for (let i = 0; i < 3000; i++) writeSync(1, "x\\n"); return ""; };`,
    },
    { limits: { maxLogLinesPerSecond: 20 } },
  );
  await m.result();
  await m.version.stop();
  expect(linesOf("raw.ts").length).toBeLessThanOrEqual(65);
});

test("a line cannot forge another line or steer a terminal", () => {
  new ModuleLogger("evil.ts", "t", 10).line("info", "a\nERROR b\r\x1b[2Jc\u2028d\te");
  expect(linesOf("evil.ts")).toEqual(["info a\\u000aERROR b\\u000d\\u001b[2Jc\\u2028d\te"]);
});

test("a long line is cut", async () => {
  await using m = await load({
    "long.ts": `export const execute = () => { console.log("x".repeat(1e6)); return ""; };`,
  });
  await m.result();
  const [line = ""] = await eventually("the line", () => linesOf("long.ts").length > 0 && linesOf("long.ts"));
  expect(line.length).toBeLessThan(10_000);
  expect(line).toEndWith("more)");
});

test("a late error is logged with its stack, and a failing call's at debug level", async () => {
  await using m = await load({
    "late.ts": `export const execute = async (args: string) => { if (args === "") throw new Error("of the call"); void Promise.reject(new Error("of nobody")); await Bun.sleep(5); return ""; };`,
  });
  await m.failure();
  await m.result("late");
  const lines = await eventually("both", () => linesOf("late.ts").length >= 2 && linesOf("late.ts"));
  expect(lines[0]).toMatch(/^debug execute failed: Error: of the call/);
  expect(lines.some((line) => /^error Unhandled promise rejection: Error: of nobody/.test(line))).toBe(true);
  expect(lines.some((line) => line.includes("late.ts:1"))).toBe(true);
});
