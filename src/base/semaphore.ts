/** Runs at most `width` tasks at a time. The others wait in the order in which they came. */
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
      // Hand the place directly to the next task, so that no other can take it.
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
