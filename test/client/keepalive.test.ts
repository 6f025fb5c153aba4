import { expect, test } from "bun:test";
import { Keepalive, PongLateError } from "../../src/client/keepalive.ts";
import { Patience } from "../../src/client/patience.ts";
import type { Frame } from "../../src/protocol/frame.ts";
import { ConnectTimeoutError } from "../../src/tls/connector.ts";
import { eventually } from "../helpers/within.ts";

/** A connection whose queue and answers the test controls. */
class SilentChannel {
  isClosed = false;
  queuedBytes = 0;
  pings = 0;
  abortedFor: Error | undefined;
  answer: Promise<Frame> = new Promise(() => {});

  request(): Promise<Frame> {
    this.pings += 1;
    return this.answer;
  }

  abort(reason: Error): void {
    this.isClosed = true;
    this.abortedFor = reason;
  }
}

test("a silent server is pinged, and disconnected when nothing arrives within the time for a pong", async () => {
  const channel = new SilentChannel();
  const startedAt = performance.now();
  new Keepalive(channel, { keepaliveMs: 50, pongMs: 200 });
  await eventually("the end", () => channel.isClosed);
  expect(channel.abortedFor).toBeInstanceOf(PongLateError);
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(250);
  expect(channel.pings).toBe(1);
});

test("anything that arrives keeps the connection alive, not only a pong", async () => {
  const channel = new SilentChannel();
  const keepalive = new Keepalive(channel, { keepaliveMs: 50, pongMs: 200 });
  let heard = 0;
  const talk = setInterval(() => {
    keepalive.heard();
    heard += 1;
  }, 60);
  await eventually("signs of life, for three times as long as a pong may take", () => heard === 14);
  clearInterval(talk);
  expect(channel.isClosed).toBe(false);
  keepalive.stop();
});

test("a ping that waits in this side's own queue is not late while the queue gets shorter", async () => {
  const channel = new SilentChannel();
  channel.queuedBytes = 1_000_000;
  const keepalive = new Keepalive(channel, { keepaliveMs: 50, pongMs: 200 });
  const upload = setInterval(() => {
    channel.queuedBytes -= 1_000;
  }, 20);
  await eventually(
    "progress, for three times as long as a pong may take",
    () => channel.queuedBytes <= 965_000,
  );
  expect(channel.pings).toBe(1);
  expect(channel.isClosed).toBe(false);
  // The twin: the queue stays as it is, as in a black hole.
  clearInterval(upload);
  await eventually("the end", () => channel.isClosed);
  keepalive.stop();
});

test("each missed deadline doubles the next ones, up to eight times, until a pong is quick", () => {
  const patience = new Patience(1_000);
  patience.failed(new ConnectTimeoutError("no answer"));
  expect([patience.timeoutMs, patience.pongMs]).toEqual([2_000, 20_000]);
  for (let time = 0; time < 5; time++) patience.failed(new PongLateError(1));
  expect([patience.timeoutMs, patience.pongMs]).toEqual([8_000, 80_000]);
  patience.answered(30_000);
  expect(patience.pongMs).toBe(80_000);
  patience.answered(100);
  expect([patience.timeoutMs, patience.pongMs]).toEqual([1_000, 10_000]);
});
