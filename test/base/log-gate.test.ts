import { expect, test } from "bun:test";
import { LogGate, suppressedNote } from "../../src/base/log-gate.ts";

test("a log gate lets so many lines through per second, and the next line counts the others", () => {
  let now = 0;
  const gate = new LogGate(3, 3, () => now);
  const lines = (count: number) => Array.from({ length: count }, () => gate.pass());
  expect(lines(10)).toEqual([0, 0, 0, ...Array(7).fill(undefined)]);
  now = 1_000;
  expect(lines(4)).toEqual([7, 0, 0, undefined]);
});

test("a log gate of nothing lets nothing through", () => {
  let now = 0;
  const gate = new LogGate(0, 0, () => now);
  expect(gate.pass()).toBeUndefined();
  now = 1e9;
  expect(gate.pass()).toBeUndefined();
});

test("a note appears only when lines were suppressed", () => {
  expect(suppressedNote(0, "refusals")).toBe("");
  expect(suppressedNote(3, "refusals")).toBe(" (3 similar refusals suppressed)");
});
