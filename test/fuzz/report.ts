/** What went wrong so far, and the lines that tell how far the run is. */
export class Report {
  readonly violations: string[] = [];
  readonly #startedAt = performance.now();
  #lastLineAt = 0;

  violation(text: string): void {
    this.violations.push(text);
    if (this.violations.length <= 20) console.error(`VIOLATION ${text}`);
  }

  /** At most one line every five seconds. */
  progress(text: () => string): void {
    const now = performance.now();
    if (now - this.#lastLineAt < 5_000) return;
    this.#lastLineAt = now;
    console.log(`${this.#seconds().padStart(6)} s  ${text()}`);
  }

  result(text: string): void {
    console.log(`${this.#seconds().padStart(6)} s  ${text}`);
  }

  #seconds(): string {
    return ((performance.now() - this.#startedAt) / 1_000).toFixed(0);
  }
}
