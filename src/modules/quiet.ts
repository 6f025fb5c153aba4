import { pause } from "../base/pause.ts";

/** How long nothing must have been asked for, and how long to wait for that. */
const quietMs = 100;
const maxWaitMs = 1_000;

/** Lets work in the background wait for a moment in which nothing else is asked for. */
export class Quiet {
  #disturbedAtMs = Number.NEGATIVE_INFINITY;

  /** Something has been asked for. */
  disturb(): void {
    this.#disturbedAtMs = performance.now();
  }

  /** Resolves when nothing has been asked for in the last 100 ms, after a second even so, or when `signal` is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    const endsAtMs = performance.now() + maxWaitMs;
    while (!signal.aborted) {
      const now = performance.now();
      const waitMs = Math.min(this.#disturbedAtMs + quietMs, endsAtMs) - now;
      if (waitMs <= 0) return;
      await pause(waitMs, signal);
    }
  }
}
