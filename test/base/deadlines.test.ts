import { expect, test } from "bun:test";
import { DeadlineWheel } from "../../src/base/deadlines.ts";

/** Resolves with how long after arming it expired. */
function expiry(wheel: DeadlineWheel, ms: number): Promise<number> {
  const start = performance.now();
  return new Promise((resolve) => {
    wheel.arm({ expire: () => resolve(performance.now() - start) }, ms);
    // The wheel's timer is unreferenced; something must keep the test's loop awake.
    setTimeout(() => {}, ms + 200);
  });
}

test("a deadline never fires early", async () => {
  const wheel = new DeadlineWheel(5);
  const waits = [0, 1, 4, 5, 6, 33, 60];
  const took = await Promise.all(waits.map((ms) => expiry(wheel, ms)));
  for (const [index, ms] of waits.entries()) expect(took[index]).toBeGreaterThanOrEqual(ms);
});

test("a disarmed deadline does not fire, and its neighbours in the same tick do", async () => {
  const wheel = new DeadlineWheel(5);
  const fired: string[] = [];
  const item = (name: string) => ({ expire: () => void fired.push(name) });
  wheel.arm(item("a"), 10);
  const b = wheel.arm(item("b"), 10);
  b.disarm();
  b.disarm();
  await expiry(wheel, 40);
  expect(fired).toEqual(["a"]);
});

test("one that expires may disarm and arm others", async () => {
  const wheel = new DeadlineWheel(5);
  const fired: string[] = [];
  let second = { disarm() {} };
  wheel.arm({ expire: () => second.disarm() }, 10);
  second = wheel.arm({ expire: () => void fired.push("disarmed") }, 10);
  wheel.arm({ expire: () => void wheel.arm({ expire: () => void fired.push("armed anew") }, 10) }, 10);
  await expiry(wheel, 60);
  expect(fired).toEqual(["armed anew"]);
});

test("an earlier deadline is not held up by a later one, nor by one that was disarmed", async () => {
  const wheel = new DeadlineWheel(5);
  const late = wheel.arm({ expire: () => {} }, 60_000);
  wheel.arm({ expire: () => {} }, 20).disarm();
  const took = await Promise.all([expiry(wheel, 10), expiry(wheel, 50)]);
  expect(Math.max(...took)).toBeLessThan(5_000);
  late.disarm();
});

test("one that is longer than the system's timers go does not fire now", async () => {
  const wheel = new DeadlineWheel(5);
  const fired: string[] = [];
  const deadline = wheel.arm({ expire: () => void fired.push("late") }, 2 ** 33);
  await expiry(wheel, 30);
  expect(fired).toEqual([]);
  deadline.disarm();
});
