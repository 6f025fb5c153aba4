import { expect, test } from "bun:test";
import { activityBetween } from "../../src/client/module-activity.ts";
import type { ModuleStats } from "../../src/protocol/messages.ts";

const stats = (mod: string, calls: number, tree = "a"): ModuleStats => ({
  mod,
  tree: tree.repeat(64),
  current: true,
  state: "running",
  calls,
  failures: 0,
  restarts: 0,
  inFlight: 0,
});
const rates = (before: ModuleStats[], after: ModuleStats[], elapsedMs: number) =>
  activityBetween(before, after, elapsedMs).map(({ callsPerSecond }) => callsPerSecond);

test("calls are counted per second", () => {
  expect(rates([stats("a.ts", 10)], [stats("a.ts", 35)], 500)).toEqual([50]);
});

test("a version that was not there before has no rate yet", () => {
  expect(rates([], [stats("a.ts", 35)], 1_000)).toEqual([0]);
  expect(rates([stats("a.ts", 10)], [stats("a.ts", 35, "b")], 1_000)).toEqual([0]);
});

test("a server that counts from 0 again has no negative rate", () => {
  expect(rates([stats("a.ts", 35)], [stats("a.ts", 5)], 1_000)).toEqual([0]);
});

test("no time in between gives no rate", () => {
  expect(rates([stats("a.ts", 1)], [stats("a.ts", 2)], 0)).toEqual([0]);
});
