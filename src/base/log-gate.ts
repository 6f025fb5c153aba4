/**
 * Lets at most `maxPerSecond` log lines through a second and counts the others. What others can cause passes one, and
 * both ends of a module host have one: the host's own keeps an honest chatterer cheap, the server's keeps a hostile one
 * bounded.
 */
export class LogGate {
  readonly #maxPerSecond: number;
  #second = 0;
  #passed = 0;
  #dropped = 0;

  constructor(maxPerSecond: number) {
    this.#maxPerSecond = maxPerSecond;
  }

  /** True when one more line may pass now. */
  pass(): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#passed = 0;
    }
    if (this.#passed < this.#maxPerSecond) {
      this.#passed += 1;
      return true;
    }
    this.#dropped += 1;
    return false;
  }

  /** How many lines were dropped since this was last asked. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  /** What a line that has passed says at its end of those that were dropped before it; often nothing. */
  takeSuffix(): string {
    const dropped = this.takeDropped();
    return dropped === 0 ? "" : ` (${dropped} similar lines suppressed)`;
  }
}
