const firstPauseMs = 1_000;
const longestPauseMs = 60_000;

/** The starts of a module's process that have failed in a row. Each pause before the next is twice as long. */
export class StartFailures {
  readonly #mod: string;
  #inARow = 0;
  #lastReason = "";
  #retryAt = 0;

  constructor(mod: string) {
    this.#mod = mod;
  }

  get inARow(): number {
    return this.#inARow;
  }

  /** Until the next start may be made; 0: now. */
  get waitMs(): number {
    return Math.max(0, this.#retryAt - performance.now());
  }

  /** A sentence for those who wait for a process. */
  get message(): string {
    const seconds = Math.max(1, Math.ceil(this.waitMs / 1000));
    return `${this.#mod} does not start: ${this.#lastReason} It can be tried again in ${seconds} s.`;
  }

  add(reason: string): void {
    this.#inARow += 1;
    this.#lastReason = /[.!?]$/.test(reason) ? reason : `${reason}.`;
    this.#retryAt = performance.now() + Math.min(firstPauseMs * 2 ** (this.#inARow - 1), longestPauseMs);
  }

  /** A start has succeeded. */
  clear(): void {
    this.#inARow = 0;
  }
}
