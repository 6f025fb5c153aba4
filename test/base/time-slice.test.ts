import { expect, test } from "bun:test";
import { TimeSlice } from "../../src/base/time-slice.ts";

test("a pause lets a timer that is due run, and begins a new slice", async () => {
  const slice = new TimeSlice(60_000);
  let hasRun = false;
  setTimeout(() => {
    hasRun = true;
  }, 0);
  Bun.sleepSync(5);
  expect(slice.isOver).toBe(true);
  while (!hasRun) await slice.pause();
  expect(slice.isOver).toBe(false);
});
