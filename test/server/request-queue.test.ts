import { describe, expect, test } from "bun:test";
import { decodeFrame, type Frame } from "../../src/protocol/frame.ts";
import { type QueuedSession, RequestQueue } from "../../src/server/request-queue.ts";

const limits = { maxRequestsInFlight: 2, maxResultBytes: 100, maxQueuedBytes: 1_000 };

/** A session whose load the test sets. It keeps the REFs of the requests that it handles. */
class FakeSession implements QueuedSession {
  callsInFlight = 0;
  queuedBytes = 0;
  isBehind = false;
  isReading = true;
  readonly handled: string[] = [];
  readonly queue = new RequestQueue(this, limits);

  handle({ ref, api, type }: Frame): void {
    this.handled.push(ref);
    if (api === "mod" && type === "exec") this.callsInFlight += 1;
  }

  pauseReading(): void {
    this.isReading = false;
  }

  resumeReading(): void {
    this.isReading = true;
  }

  asks(...lines: string[]): void {
    for (const line of lines) this.queue.add(decodeFrame(line));
  }

  callEnds(): void {
    this.callsInFlight -= 1;
    this.queue.advance();
  }
}

const sync = (ref: string, padding = 0) => `mod:sync:${ref} {${" ".repeat(padding)}}`;
const exec = (ref: string) => `mod:exec:${ref} {}`;
const cancel = (ref: string) => `mod:cancel:${ref} {}`;

describe("a client within its limits", () => {
  test("has each request handled at once", () => {
    const session = new FakeSession();
    session.asks(exec("1"), exec("2"), sync("3"));
    expect(session.handled).toEqual(["1", "2", "3"]);
    expect([session.isReading, session.queue.isPaused]).toEqual([true, false]);
  });
});

describe("a client with all its calls in flight", () => {
  test("has the next call wait until one ends, and is not read in the meantime", () => {
    const session = new FakeSession();
    session.asks(exec("1"), exec("2"), exec("3"), exec("4"));
    expect(session.handled).toEqual(["1", "2"]);
    expect([session.isReading, session.queue.isPaused]).toEqual([false, true]);
    session.callEnds();
    expect(session.handled).toEqual(["1", "2", "3"]);
    expect(session.isReading).toBe(false);
    session.callEnds();
    expect(session.handled).toEqual(["1", "2", "3", "4"]);
    expect(session.isReading).toBe(true);
  });

  test("has what was read behind a waiting call wait as well, in order", () => {
    const session = new FakeSession();
    session.asks(exec("1"), exec("2"), exec("3"), cancel("1"), sync("4"));
    expect(session.handled).toEqual(["1", "2"]);
    session.callEnds();
    expect(session.handled).toEqual(["1", "2", "3", "1", "4"]);
  });

  test("has its calls handled one by one when each ends at once", () => {
    const session = new FakeSession();
    session.asks(exec("1"), exec("2"), exec("3"), exec("4"), exec("5"));
    session.handle = ({ ref }) => {
      session.handled.push(ref);
      // Ends before `handle` returns.
      session.queue.advance();
    };
    session.callEnds();
    expect(session.handled).toEqual(["1", "2", "3", "4", "5"]);
    expect(session.isReading).toBe(true);
  });
});

describe("a client that takes its answers too slowly", () => {
  test("has lists wait while calls and cancels overtake them", () => {
    const session = new FakeSession();
    session.isBehind = true;
    session.asks(sync("1"), exec("2"), cancel("2"));
    expect(session.handled).toEqual(["2", "2"]);
    expect(session.isReading).toBe(true);
    session.isBehind = false;
    session.queue.advance();
    expect(session.handled).toEqual(["2", "2", "1"]);
  });

  test("has nothing handled when the longest results no longer fit, and is not read", () => {
    const session = new FakeSession();
    session.isBehind = true;
    session.queuedBytes = 900;
    session.asks(exec("1"));
    expect(session.handled).toEqual(["1"]);
    // One call in flight and one more: 900 + 2 * 100.
    session.asks(exec("2"));
    expect(session.handled).toEqual(["1"]);
    expect(session.isReading).toBe(false);
    session.queuedBytes = 800;
    session.queue.advance();
    expect(session.handled).toEqual(["1", "2"]);
  });

  test.each([
    ["64 waiting requests", 63, 0],
    ["64 KiB of waiting payloads", 1, 32 * 1024],
  ])("is read up to %s, and no further", (_, count, padding) => {
    const session = new FakeSession();
    session.isBehind = true;
    for (let number = 0; number < count; number++) session.asks(sync(`${number}`, padding));
    expect(session.isReading).toBe(true);
    session.asks(sync("last", padding));
    expect(session.isReading).toBe(false);
    expect(session.handled).toEqual([]);
    session.isBehind = false;
    session.queue.advance();
    expect(session.handled.length).toBe(count + 1);
    expect(session.isReading).toBe(true);
  });
});

describe("a client whose connection is held", () => {
  test("has all requests wait until it is released, and is still read", () => {
    const session = new FakeSession();
    session.queue.hold();
    session.asks(exec("1"), sync("2"));
    expect([session.handled, session.isReading, session.queue.isHeld]).toEqual([[], true, true]);
    session.queue.release();
    expect([session.handled, session.queue.isHeld]).toEqual([["1", "2"], false]);
  });

  test("has its waiting requests forgotten when it is closed", () => {
    const session = new FakeSession();
    session.queue.hold();
    session.asks(exec("1"));
    session.queue.clear();
    session.queue.release();
    expect(session.handled).toEqual([]);
  });
});
