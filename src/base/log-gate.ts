import { TokenBucket } from "./token-bucket.ts";

/** Lets `maxPerSecond` log lines through per second. Every line that others can cause goes through a gate. */
export class LogGate {
  readonly #bucket: TokenBucket;
  readonly #now: () => number;
  #suppressed = 0;

  /** `burst`: how many may come at once. `now` in milliseconds, monotonic. */
  constructor(maxPerSecond: number, burst = maxPerSecond, now = () => performance.now()) {
    this.#bucket = new TokenBucket(burst, maxPerSecond, now());
    this.#now = now;
  }

  /**
   * Undefined when the line must not be written. Otherwise how many lines were suppressed since the last one that was
   * written.
   */
  pass(): number | undefined {
    if (!this.#bucket.take(1, this.#now())) {
      this.#suppressed += 1;
      return undefined;
    }
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    return suppressed;
  }
}

/** ` (3 similar refusals suppressed)`, to append to a line; empty when `count` is 0. */
export function suppressedNote(count: number, what: string): string {
  return count === 0 ? "" : ` (${count} similar ${what} suppressed)`;
}
