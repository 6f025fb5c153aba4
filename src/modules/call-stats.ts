import { RunTimes } from "./run-times.ts";

/** Counts the answered calls of one version, and how long they ran. */
export class CallStats {
  /** Made for the first call: most modules of a large folder are never called. */
  #runTimes: RunTimes | undefined;
  #calls = 0;
  #failures = 0;

  get calls(): number {
    return this.#calls;
  }

  get failures(): number {
    return this.#failures;
  }

  /** `ranMs` is the time in the module's process, undefined for a call that never got there. */
  record(ok: boolean, ranMs: number | undefined): void {
    this.#calls += 1;
    if (!ok) this.#failures += 1;
    if (ranMs === undefined) return;
    this.#runTimes ??= new RunTimes();
    this.#runTimes.record(ranMs);
  }

  /** See `RunTimes.quantile`. */
  quantile(quantile: number): number | undefined {
    return this.#runTimes?.quantile(quantile);
  }
}
