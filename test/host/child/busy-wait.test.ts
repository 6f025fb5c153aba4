import { expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { BusyWait } from "../../../src/host/child/busy-wait.ts";
import { cpuMsOf, hasProcfs } from "../../helpers/procfs.ts";
import { load } from "../../helpers/versions.ts";
import { eventually } from "../../helpers/within.ts";

/** A busy wait that counts its turns of the event loop. */
class Counted {
  turns = 0;
  readonly #wait = new BusyWait(() => {
    this.turns += 1;
  });

  /** Calls one after the other, each as soon as the one before has ended. */
  callsInARow(count: number): void {
    for (let call = 0; call < count; call++) {
      this.#wait.callCame();
      this.#wait.becameIdle();
    }
  }

  callCame(): void {
    this.#wait.callCame();
  }

  becameIdle(): void {
    this.#wait.becameIdle();
  }
}

const canWait = availableParallelism() > 1;

/** The two calls must be close; a machine that is busy elsewhere can pull them apart. */
async function waitsAfter(calls: (wait: Counted) => void): Promise<Counted> {
  return eventually("a wait that stays awake", async () => {
    const wait = new Counted();
    calls(wait);
    await turn();
    return wait.turns > 0 && wait;
  });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test.if(canWait)("a host waits awake after two calls close to each other, and not for long", async () => {
  const wait = await waitsAfter((each) => each.callsInARow(2));
  let { turns } = wait;
  await eventually("the end of the wait", async () => {
    await turn();
    const isOver = wait.turns === turns;
    turns = wait.turns;
    return isOver;
  });
});

test("a host does not wait awake after a single call", async () => {
  const wait = new Counted();
  wait.callsInARow(1);
  await turn();
  expect(wait.turns).toBe(0);
});

test("a host does not wait awake when calls overlap", async () => {
  const wait = new Counted();
  wait.callsInARow(1);
  wait.callCame();
  wait.callCame();
  wait.becameIdle();
  await turn();
  expect(wait.turns).toBe(0);
});

test.if(canWait)("a call ends the wait", async () => {
  const wait = await waitsAfter((each) => each.callsInARow(2));
  wait.callCame();
  const { turns } = wait;
  await turn();
  await turn();
  expect(wait.turns).toBe(turns);
});

test.if(canWait)("a module's process waits awake between calls that come one at a time", async () => {
  // The module sees the wait, for it shares the event loop.
  await using m = await load(`
    let turns = 0;
    const original = setImmediate;
    globalThis.setImmediate = ((...args) => { turns += 1; return original(...args); }) as typeof setImmediate;
    export const execute = () => String(turns);`);
  expect(await m.result()).toBe("0");
  await eventually("a turn between two calls", async () => {
    for (let call = 0; call < 50; call++) await m.result();
    return (await m.result()) !== "0";
  });
});

test.if(hasProcfs)("a module's process rests when the calls have ended", async () => {
  await using m = await load("export const execute = (args: string) => args;");
  for (let call = 0; call < 2_000; call++) expect(await m.result(String(call))).toBe(String(call));
  const pid = m.version.stats().pid as number;
  await eventually("a tenth of a second in which it hardly runs", async () => {
    const before = cpuMsOf(pid);
    await Bun.sleep(100);
    return cpuMsOf(pid) - before <= 10;
  });
});
