import { describe, expect, test } from "bun:test";
import { withDefaultLimits } from "../../src/base/limits.ts";
import type { CallRequest } from "../../src/host/call.ts";
import type { CallEvents } from "../../src/host/parent/host-events.ts";
import type { ModuleHost } from "../../src/host/parent/module-host.ts";
import { CallQueue, type HostSource, type QueueLimits } from "../../src/modules/call-queue.ts";
import { CallStats } from "../../src/modules/call-stats.ts";
import { client, RecordedCall } from "../helpers/versions.ts";

/** A process that does what the test says. */
class FakeHost {
  readonly calls: { readonly request: CallRequest; readonly events: CallEvents }[] = [];
  takesCalls = true;
  inFlight = 0;

  exec(request: CallRequest, events: CallEvents): number {
    this.inFlight += 1;
    return this.calls.push({ request, events }) - 1;
  }

  readonly #ended = new Set<number>();

  /** The process ends the call with this index. */
  end(index: number): void {
    if (this.#ended.has(index)) return;
    this.#ended.add(index);
    this.inFlight -= 1;
    this.calls[index]?.events.succeeded('"done"');
  }

  get args(): string[] {
    return this.calls.map(({ request }) => JSON.parse(request.argsJson) as string);
  }
}

/** A queue and where it gets its process; `using` ends its calls, so that no deadline stays armed. */
class Queued implements HostSource, Disposable {
  host: ModuleHost | undefined;
  failure: string | undefined;
  starts = 0;
  readonly fake = new FakeHost();
  readonly stats = new CallStats();
  readonly queue: CallQueue;

  constructor(limits: Partial<QueueLimits> = {}) {
    this.queue = new CallQueue("m.ts", withDefaultLimits(limits), this, this.stats);
  }

  start(): void {
    this.starts += 1;
  }

  hostIsReady(): void {
    this.host = this.fake as unknown as ModuleHost;
    this.queue.pump();
  }

  add(args: string): RecordedCall {
    const recorded = new RecordedCall();
    const request = { argsJson: JSON.stringify(args), timeoutMs: 5_000, client, ref: "r" };
    recorded.call = this.queue.add(request, recorded);
    return recorded;
  }

  [Symbol.dispose](): void {
    this.queue.close(() => {});
    this.queue.clear();
    for (const index of this.fake.calls.keys()) this.fake.end(index);
  }
}

describe("a call", () => {
  test("starts a process if there is none, and runs when that is ready", () => {
    using queued = new Queued();
    queued.add("a");
    expect([queued.starts, queued.fake.args]).toEqual([1, []]);
    queued.hostIsReady();
    expect(queued.fake.args).toEqual(["a"]);
  });

  test("runs at once in a process that takes it", () => {
    using queued = new Queued();
    queued.hostIsReady();
    const call = queued.add("a");
    expect([queued.starts, queued.fake.args, queued.queue.running]).toEqual([0, ["a"], 1]);
    queued.fake.end(0);
    expect(call.outcome).toEqual({ ok: true, resultJson: '"done"' });
    expect([queued.queue.running, queued.stats.calls, queued.stats.failures]).toEqual([0, 1, 0]);
  });

  test("waits behind those that came before, as long as the process takes none", () => {
    using queued = new Queued();
    queued.hostIsReady();
    queued.fake.takesCalls = false;
    queued.add("a");
    queued.add("b");
    queued.fake.takesCalls = true;
    queued.add("c");
    expect(queued.fake.args).toEqual([]);
    queued.queue.pump();
    expect(queued.fake.args).toEqual(["a", "b", "c"]);
  });

  test("waits for a place among those in flight, and has the next that is free", () => {
    using queued = new Queued({ maxCallsInFlight: 1 });
    queued.hostIsReady();
    queued.add("a");
    queued.add("b");
    expect(queued.fake.args).toEqual(["a"]);
    queued.fake.end(0);
    expect(queued.fake.args).toEqual(["a", "b"]);
  });

  test("is refused when too many wait, or their arguments are too long", () => {
    using queued = new Queued({ maxCallsInFlight: 1, maxCallsQueued: 1 });
    queued.hostIsReady();
    queued.add("a");
    queued.add("b");
    expect(queued.add("c").outcome).toMatchObject({ code: "busy", started: false });

    using long = new Queued({ maxQueuedArgsBytes: 10 });
    long.add("12345678");
    expect(long.add("").outcome).toMatchObject({ code: "busy", started: false });
    long.hostIsReady();
    expect(long.add("").outcome).toBeUndefined();
  });

  test("that is cancelled while it waits makes room for another and never runs", () => {
    using queued = new Queued({ maxCallsInFlight: 1, maxCallsQueued: 1 });
    queued.hostIsReady();
    queued.add("a");
    const cancelled = queued.add("b");
    cancelled.call?.abort("cancelled", "enough");
    expect(cancelled.outcome).toMatchObject({ code: "cancelled", started: false });
    queued.add("c");
    queued.fake.end(0);
    expect(queued.fake.args).toEqual(["a", "c"]);
  });

  test("is refused while no process can be started, and says why", () => {
    using queued = new Queued();
    queued.failure = "m.ts does not start.";
    expect(queued.add("a").outcome).toMatchObject({
      code: "module_crashed",
      message: "m.ts does not start.",
    });
    expect(queued.starts).toBe(0);
  });
});

test("when no process could be started, the waiting calls are refused", () => {
  using queued = new Queued();
  const calls = [queued.add("a"), queued.add("b")];
  queued.queue.fail("m.ts does not start.");
  for (const { outcome } of calls) expect(outcome).toMatchObject({ code: "module_crashed", started: false });
  queued.hostIsReady();
  expect(queued.fake.args).toEqual([]);
});

describe("a queue that is closed", () => {
  test("refuses new calls, runs those that wait, and says when it is empty", () => {
    using queued = new Queued({ maxCallsInFlight: 1 });
    queued.hostIsReady();
    queued.add("a");
    queued.add("b");
    let isEmpty = false;
    queued.queue.close(() => {
      isEmpty = true;
    });
    expect(queued.add("c").outcome).toMatchObject({ code: "shutting_down", started: false });
    queued.fake.end(0);
    expect([queued.fake.args, isEmpty]).toEqual([["a", "b"], false]);
    queued.fake.end(1);
    expect(isEmpty).toBe(true);
  });

  test("and cleared refuses those that wait, and leaves those that run to their process", () => {
    using queued = new Queued({ maxCallsInFlight: 1 });
    queued.hostIsReady();
    const [running, waiting] = [queued.add("a"), queued.add("b")];
    queued.queue.close(() => {});
    queued.queue.clear();
    expect(waiting.outcome).toMatchObject({ code: "shutting_down", started: false });
    expect(running.outcome).toBeUndefined();
  });

  test("without any call is empty at once", () => {
    let isEmpty = false;
    using queued = new Queued();
    queued.queue.close(() => {
      isEmpty = true;
    });
    expect(isEmpty).toBe(true);
  });
});
