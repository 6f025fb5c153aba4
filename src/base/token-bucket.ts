/**
 * VeriPy's one way to limit a rate: allows `burst` uses at once, and `perSecond` per second in the long run.
 * `now` is in milliseconds by a monotonic clock, here and below.
 */
export class TokenBucket {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #filledAt: number;

  constructor(burst: number, perSecond: number, now = performance.now()) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
    this.#filledAt = now;
  }

  /** Whether `take` would succeed. */
  has(count = 1, now = performance.now()): boolean {
    this.#fill(now);
    return this.#tokens >= count;
  }

  /** Uses up `count` if that many are left; otherwise returns false and takes none. */
  take(count = 1, now = performance.now()): boolean {
    if (!this.has(count, now)) return false;
    this.#tokens -= count;
    return true;
  }

  /** Uses up `count` even if fewer are left. Returns how many milliseconds to wait before the next use. */
  borrow(count: number, now = performance.now()): number {
    this.#fill(now);
    this.#tokens -= count;
    return Math.max(0, (-this.#tokens / this.#perSecond) * 1_000);
  }

  /** A full bucket can be forgotten: a new one behaves the same. */
  isFull(now = performance.now()): boolean {
    return this.has(this.#burst, now);
  }

  #fill(now: number): void {
    const gained = ((now - this.#filledAt) / 1_000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#filledAt = now;
  }
}
