import { expect, test } from "bun:test";
import { Quiet } from "../../src/modules/quiet.ts";

const never = new AbortController().signal;

async function waited(quiet: Quiet, signal = never): Promise<number> {
  const beganAt = performance.now();
  await quiet.wait(signal);
  return performance.now() - beganAt;
}

test("nothing is waited for when nothing was asked for", async () => {
  expect(await waited(new Quiet())).toBeLessThan(90);
});

test("a moment has passed since the last request", async () => {
  const quiet = new Quiet();
  quiet.disturb();
  expect(await waited(quiet)).toBeGreaterThanOrEqual(99);
});

test("requests that do not stop delay it by a second and no more", async () => {
  const quiet = new Quiet();
  const asking = setInterval(() => quiet.disturb(), 5);
  quiet.disturb();
  const ms = await waited(quiet).finally(() => clearInterval(asking));
  expect(ms).toBeGreaterThanOrEqual(999);
  expect(ms).toBeLessThan(5_000);
});

test("an abort ends the wait", async () => {
  const quiet = new Quiet();
  const ended = new AbortController();
  const asking = setInterval(() => quiet.disturb(), 5);
  quiet.disturb();
  setTimeout(() => ended.abort(), 20);
  expect(await waited(quiet, ended.signal).finally(() => clearInterval(asking))).toBeLessThan(900);
});
