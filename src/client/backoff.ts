/** The length of the pauses, in milliseconds. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * Exponential backoff with jitter: each pause is a random time between half of a span and all of it, and the span doubles
 * up to `maxMs`. So a thousand clients of a server that restarts do not all come back at the same moment.
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

  /** Starts over with `firstMs`. Call it after a success. */
  reset(): void {
    this.#spanMs = this.#options.firstMs;
  }
}
