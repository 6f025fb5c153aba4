/** Lets at most `width` tasks run at a time; the others wait their turn, first come first served. */
export class Gate {
  readonly #width: number;
  readonly #waiting: Array<() => void> = [];
  #running = 0;

  constructor(width: number) {
    this.#width = width;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running < this.#width) this.#running++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      // The place passes to the next one directly, so that nobody slips in between.
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
