import { expect, test } from "bun:test";
import { client, gone, load, RecordedCall } from "../helpers/versions.ts";
import { within } from "../helpers/within.ts";

const request = { argsJson: '"x"', timeoutMs: 5_000, client, ref: "1" };
const echoes = "export const execute = (args: string) => args;";

test("a version that rests has no process, and a call waits until it wakes", async () => {
  await using m = await load(echoes);
  const { pid = 0 } = m.version.stats();
  await within(5_000, "its rest", m.version.rest());
  await gone(pid, "its process");
  const call = new RecordedCall();
  m.version.call(request, call);
  expect(m.version.stats().pid).toBeUndefined();
  m.version.wake();
  expect(await within(5_000, "the answer", call.ended)).toEqual({ ok: true, resultJson: '"x"' });
});

test("a call that waits for it is refused when it is replaced, as one that has not started", async () => {
  await using m = await load(echoes);
  await m.version.rest();
  const call = new RecordedCall();
  m.version.call(request, call);
  m.version.replaced();
  expect(await within(5_000, "the answer", call.ended)).toMatchObject({ code: "busy", started: false });
  // By its tree it can still be called.
  const later = new RecordedCall();
  m.version.call(request, later);
  expect(await within(5_000, "the answer", later.ended)).toMatchObject({ ok: true });
});

test("its calls have 'drainMs' to end, and it can be stopped meanwhile", async () => {
  const stays = "export const execute = () => new Promise(() => {});";
  await using m = await load(stays, { limits: { drainMs: 50 } });
  const call = new RecordedCall();
  m.version.call(request, call);
  await within(5_000, "its rest", m.version.rest());
  expect(await within(5_000, "the answer", call.ended)).toMatchObject({ ok: false });

  await using other = await load(stays, { limits: { drainMs: 60_000 } });
  other.version.call(request, new RecordedCall());
  const resting = other.version.rest();
  await other.version.stop();
  await within(5_000, "its rest", resting);
  other.version.wake();
  expect(other.version.stats()).toMatchObject({ state: "stopped", pid: undefined });
});
