import { describe, expect, test } from "bun:test";
import { type CheckedConnection, LifeCheck } from "../../src/server/life-check.ts";

const limits = { idleMs: 1_000, firstRequestMs: 500 };

/** A connection whose deadlines the test lets expire itself. */
class FakeConnection implements CheckedConnection {
  queuedBytes = 0;
  isBehind = false;
  isPaused = false;
  pings = 0;
  closedFor: string | undefined;
  readonly check = new LifeCheck(this, limits);

  ping(): void {
    this.pings += 1;
  }

  close(_: "timeout", message: string): void {
    this.closedFor = message;
  }

  /** Each time, half of the idle time has passed. */
  expire(times = 1): void {
    for (let count = 0; count < times; count++) this.check.expire();
  }

  [Symbol.dispose](): void {
    this.check.stop();
  }
}

describe("a client that sends no request", () => {
  test("after its handshake is closed, even if bytes of half a frame have come", () => {
    using connection = new FakeConnection();
    connection.check.bytesCame();
    connection.expire();
    expect(connection.closedFor).toBe("No request within 500 ms of the handshake.");
  });

  test("after its first one is pinged, then closed if it does not answer", () => {
    using connection = new FakeConnection();
    connection.check.frameCame();
    connection.expire();
    expect([connection.pings, connection.closedFor]).toEqual([0, undefined]);
    connection.expire();
    expect([connection.pings, connection.closedFor]).toEqual([1, undefined]);
    connection.expire();
    expect(connection.closedFor).toContain("1000 ms");
  });

  test("but answers the ping stays", () => {
    using connection = new FakeConnection();
    connection.check.frameCame();
    for (let round = 0; round < 5; round++) {
      connection.expire(2);
      connection.check.frameCame();
    }
    expect([connection.pings, connection.closedFor]).toEqual([5, undefined]);
  });
});

describe("a client that is not read, or reads slowly", () => {
  test("stays while this side is at work", () => {
    using connection = new FakeConnection();
    connection.check.frameCame();
    connection.isPaused = true;
    connection.expire(10);
    expect([connection.pings, connection.closedFor]).toEqual([0, undefined]);
  });

  test("stays while it takes its output, and is closed when it takes nothing", () => {
    using connection = new FakeConnection();
    connection.check.frameCame();
    connection.isBehind = connection.isPaused = true;
    connection.queuedBytes = 1_000;
    connection.expire();
    for (let round = 0; round < 5; round++) {
      connection.queuedBytes -= 100;
      connection.expire();
    }
    expect([connection.pings, connection.closedFor]).toEqual([0, undefined]);
    connection.expire(2);
    expect([connection.pings, connection.closedFor === undefined]).toEqual([1, false]);
  });
});

describe("a probe", () => {
  test("is answered by any byte that comes", async () => {
    using connection = new FakeConnection();
    const probe = connection.check.probe(10_000);
    await Promise.resolve();
    connection.check.bytesCame();
    expect([await probe, connection.pings]).toEqual([true, 1]);
  });

  test("is answered by output that the client takes, and fails without", async () => {
    for (const taken of [1, 0]) {
      using connection = new FakeConnection();
      connection.queuedBytes = 10;
      const probe = connection.check.probe(1);
      await Promise.resolve();
      connection.queuedBytes -= taken;
      expect(await probe).toBe(taken > 0);
    }
  });

  test("fails when the connection ends", async () => {
    using connection = new FakeConnection();
    const probe = connection.check.probe(10_000);
    await Promise.resolve();
    connection.check.stop();
    expect(await probe).toBe(false);
  });
});
