/**
 * The calls that a process has, by references that are small numbers: an index each, given again as soon as nothing
 * more can come for it.
 */
export class CallTable<T> {
  readonly #calls: (T | undefined)[] = [];
  readonly #free: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Returns the call's reference. */
  add(call: T): number {
    const ref = this.#free.pop() ?? this.#calls.length;
    this.#calls[ref] = call;
    this.#size += 1;
    return ref;
  }

  get(ref: number): T | undefined {
    return this.#calls[ref];
  }

  /** Takes a call off. Its reference is not given to another before it is released. */
  remove(ref: number): void {
    this.#calls[ref] = undefined;
    this.#size -= 1;
  }

  release(ref: number): void {
    this.#free.push(ref);
  }

  /** Those that have not been taken off, in no particular order. */
  values(): T[] {
    return this.#calls.filter((call) => call !== undefined);
  }

  /** Takes all off. */
  clear(): void {
    this.#calls.length = 0;
    this.#free.length = 0;
    this.#size = 0;
  }
}
