import { expect, test } from "bun:test";
import { type ResidentProcess, ResidentProcesses } from "../../src/modules/resident-processes.ts";
import { eventually } from "../helpers/within.ts";

class FakeProcess implements ResidentProcess {
  readonly #pool: ResidentProcesses;
  idleMs: number;
  ended = false;

  constructor(pool: ResidentProcesses, idleMs: number) {
    this.#pool = pool;
    this.idleMs = idleMs;
    pool.add(this);
  }

  endIdle(): void {
    this.ended = true;
    this.#pool.delete(this);
  }
}

test("beyond the limit the least recently used idle processes end", async () => {
  const pool = new ResidentProcesses(2);
  const processes = [5, 400, 0, 300, 7].map((idleMs) => new FakeProcess(pool, idleMs));
  await eventually("three to end", () => processes.filter(({ ended }) => ended).length === 3);
  expect(processes.map(({ ended }) => ended)).toEqual([false, true, false, true, true]);
  expect(pool.isFull).toBe(true);
});

test("busy processes stay beyond the limit until they have no call", async () => {
  const pool = new ResidentProcesses(1);
  const [first, second] = [new FakeProcess(pool, 0), new FakeProcess(pool, 0)];
  const third = new FakeProcess(pool, 1);
  await eventually("the idle one to end", () => third.ended);
  expect([first.ended, second.ended]).toEqual([false, false]);
  first.idleMs = 1;
  await eventually("the first to end", () => first.ended);
  expect(second.ended).toBe(false);
});

test("with 0 no idle process stays", async () => {
  const pool = new ResidentProcesses(0);
  const process = new FakeProcess(pool, 1);
  await eventually("its end", () => process.ended);
});
