/** Long synchronous work in slices, between which everything else gets its turn. */
export class TimeSlice {
  readonly #ms: number;
  #endsAtMs = 0;

  /** `ms` is how long a slice lasts. */
  constructor(ms: number) {
    this.#ms = ms;
  }

  get isOver(): boolean {
    return performance.now() >= this.#endsAtMs;
  }

  /** Resolves when the event loop has handled what was waiting. A new slice begins. */
  async pause(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#endsAtMs = performance.now() + this.#ms;
  }
}
