import { type Deadline, deadlines } from "../base/deadlines.ts";

/** A process that may end when it has no call; the next call starts another. */
export interface ResidentProcess {
  /** How long it has had no call; 0 while it has one. */
  readonly idleMs: number;
  /** Ends it. Calls `ResidentProcesses.delete`. */
  endIdle(): void;
}

/** How soon after a start idle processes are counted, and how often while there are too many. */
const sweepMs = 100;

/** The processes of all versions. When there are more than `max`, idle ones end, least recently used first. */
export class ResidentProcesses {
  readonly #max: number;
  readonly #processes = new Set<ResidentProcess>();
  #sweep: Deadline | undefined;

  constructor(max = Number.POSITIVE_INFINITY) {
    this.#max = max;
  }

  get isFull(): boolean {
    return this.#processes.size >= this.#max;
  }

  add(process: ResidentProcess): void {
    this.#processes.add(process);
    this.#sweepSoon();
  }

  delete(process: ResidentProcess): void {
    this.#processes.delete(process);
  }

  #sweepSoon(): void {
    if (this.#processes.size <= this.#max) return;
    this.#sweep ??= deadlines.arm({ expire: () => this.#endExcess() }, sweepMs);
  }

  #endExcess(): void {
    this.#sweep = undefined;
    const idle = [...this.#processes]
      .map((process) => ({ process, ms: process.idleMs }))
      .filter(({ ms }) => ms > 0)
      .sort((a, b) => b.ms - a.ms);
    const excess = Math.max(0, this.#processes.size - this.#max);
    for (const { process } of idle.slice(0, excess)) process.endIdle();
    this.#sweepSoon();
  }
}
