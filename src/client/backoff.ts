/** How long to wait before the next try, in milliseconds. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * Growing, jittered pauses: each is drawn between half and the whole of a span that doubles up to `maxMs`, so
 * that a thousand clients of a server that restarts do not come back in one moment.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #spanMs: number;

  constructor(options: BackoffOptions = { firstMs: 250, maxMs: 30_000 }) {
    this.#options = options;
    this.#spanMs = options.firstMs;
  }

  nextMs(random: number = Math.random()): number {
    const span = this.#spanMs;
    this.#spanMs = Math.min(span * 2, this.#options.maxMs);
    return Math.round(span / 2 + (random * span) / 2);
  }

  /** After a success. */
  reset(): void {
    this.#spanMs = this.#options.firstMs;
  }
}
