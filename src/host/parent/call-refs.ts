/**
 * The calls that a process is working on. A reference is a small number, an index into a list, and is reused as soon
 * as no frame can refer to the former call. With numbers that only grow, the server needs up to a third more
 * processor time per call.
 */
export class CallRefs<T> {
  readonly #calls: (T | undefined)[] = [];
  readonly #free: number[] = [];
  /** References of calls that were aborted, and whose abort the process has not confirmed yet. */
  readonly #unconfirmed = new Set<number>();
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

  /** The process will be told to abort the call, and is to confirm that once. */
  abort(ref: number): void {
    this.#unconfirmed.add(ref);
  }

  /** False when no confirmation was due. The call may have ended meanwhile: its end and the abort crossed. */
  confirmAbort(ref: number): boolean {
    if (!this.#unconfirmed.delete(ref)) return false;
    if (this.#calls[ref] === undefined) this.#free.push(ref);
    return true;
  }

  /** Removes a call. If a confirmation is still due, the reference is not reused before it has come. */
  end(ref: number): void {
    this.#calls[ref] = undefined;
    this.#size -= 1;
    if (!this.#unconfirmed.has(ref)) this.#free.push(ref);
  }

  /** The calls that have not ended, in no particular order. */
  values(): T[] {
    return this.#calls.filter((call) => call !== undefined);
  }

  /** Removes all calls. */
  clear(): void {
    this.#calls.length = 0;
    this.#free.length = 0;
    this.#unconfirmed.clear();
    this.#size = 0;
  }
}
