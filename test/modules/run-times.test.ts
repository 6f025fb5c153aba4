import { expect, test } from "bun:test";
import { RunTimes } from "../../src/modules/run-times.ts";

test("quantiles are at most an eighth off, from microseconds to minutes", () => {
  for (const ms of [0.001, 0.05, 0.4, 3, 17.3, 250, 4_000, 60_000]) {
    const times = new RunTimes();
    times.record(ms);
    const found = times.quantile(0.5) as number;
    expect(found).toBeGreaterThanOrEqual(ms - 0.001);
    expect(found).toBeLessThanOrEqual(ms * 1.125 + 0.001);
  }
});

test("quantiles of many runs", () => {
  const times = new RunTimes();
  expect(times.quantile(0.5)).toBeUndefined();
  for (let ms = 1; ms <= 1000; ms++) times.record(ms);
  expect(times.quantile(0.5) as number).toBeWithin(499, 563);
  expect(times.quantile(0.99) as number).toBeWithin(989, 1_115);
  expect(times.quantile(1) as number).toBeWithin(999, 1_125);
});

test("times beyond every bucket and below zero are counted, not lost", () => {
  const times = new RunTimes();
  times.record(1e12);
  times.record(-5);
  expect(times.quantile(0.5)).toBe(0);
  expect(times.quantile(1) as number).toBeGreaterThan(30 * 60_000);
});
