/** The bytes that a socket has not taken yet: Bun's `write` takes what fits and does not keep the rest. */
export class Outbox {
  readonly #unsent: Uint8Array[] = [];

  get bytes(): number {
    return this.#unsent.reduce((sum, { length }) => sum + length, 0);
  }

  add(data: string | Uint8Array): void {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    if (bytes.length > 0) this.#unsent.push(bytes);
  }

  /** Writes as much as the socket takes. Call it again on the `drain` event. */
  flush(socket: { write(data: Uint8Array): number }): void {
    for (let first = this.#unsent[0]; first !== undefined; first = this.#unsent[0]) {
      const taken = socket.write(first);
      if (taken <= 0) return;
      if (taken < first.length) {
        this.#unsent[0] = first.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
  }
}
