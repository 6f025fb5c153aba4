import { describe, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { BusyWait } from "../../../src/host/child/busy-wait.ts";
import { cpuMsOf, hasProcfs } from "../../helpers/procfs.ts";
import { load } from "../../helpers/versions.ts";

/** A busy wait under a clock that only the test moves. */
class Clocked {
  nowMs = 1_000;
  /** Turns of the event loop in which it waited awake. */
  turns = 0;
  readonly #wait = new BusyWait(
    () => {
      this.turns += 1;
    },
    () => this.nowMs,
  );

  /** A call that begins `pauseMs` after the last one has ended. */
  call(pauseMs: number): void {
    this.nowMs += pauseMs;
    this.#wait.callCame();
    this.#wait.becameIdle();
  }

  /** How many of the next ten turns of the event loop it is awake. */
  async awake(): Promise<number> {
    const before = this.turns;
    for (let turn = 0; turn < 10; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    return this.turns - before;
  }
}

describe.skipIf(availableParallelism() < 2)("the busy wait", () => {
  test("keeps the process awake for a moment after a call of a streak", async () => {
    const clocked = new Clocked();
    for (let call = 0; call < 20; call++) clocked.call(0.1);
    expect(await clocked.awake()).toBeGreaterThan(5);
    clocked.nowMs += 0.19;
    expect(await clocked.awake()).toBeGreaterThan(5);
    clocked.nowMs += 0.02;
    expect(await clocked.awake()).toBe(0);
  });

  test("goes on with each call that comes meanwhile", async () => {
    const clocked = new Clocked();
    for (let call = 0; call < 20; call++) clocked.call(0.1);
    for (let call = 0; call < 5; call++) {
      expect(await clocked.awake()).toBeGreaterThan(5);
      clocked.call(0.15);
    }
  });

  test("pauses after a wait in vain until four more calls have come", async () => {
    const clocked = new Clocked();
    for (let call = 0; call < 20; call++) clocked.call(0.1);
    clocked.nowMs += 1;
    expect(await clocked.awake()).toBe(0);
    clocked.nowMs -= 0.9;
    for (let call = 0; call < 3; call++) clocked.call(0.1);
    expect(await clocked.awake()).toBe(0);
    clocked.call(0.1);
    expect(await clocked.awake()).toBeGreaterThan(5);
  });

  test.each([
    ["a few calls", 10, 0.1],
    ["calls with pauses between them", 100, 0.4],
  ])("does not begin after %s", async (_, calls, pauseMs) => {
    const clocked = new Clocked();
    for (let call = 0; call < calls; call++) clocked.call(pauseMs);
    expect(await clocked.awake()).toBe(0);
  });
});

test.skipIf(!hasProcfs)(
  "a host that was called in quick succession rests when the calls have ended",
  async () => {
    await using m = await load("export const execute = (args: string) => args;");
    for (let call = 0; call < 2_000; call++) expect(await m.result(String(call))).toBe(String(call));
    const pid = m.version.stats().pid as number;
    const before = cpuMsOf(pid);
    // A second of its life is what is measured.
    await Bun.sleep(1_000);
    // The garbage collector takes a little; a host that stayed awake would take all of it.
    expect(cpuMsOf(pid) - before).toBeLessThan(300);
  },
);
