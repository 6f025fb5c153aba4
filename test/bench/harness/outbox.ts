/**
 * What one socket still has to send. Texts of one turn of the event loop go out in one write, and what the
 * socket does not take at once waits for `drain`.
 */
export class Outbox {
  readonly #socket: Bun.Socket<unknown>;
  #text = "";
  #rest: Buffer | undefined;
  #scheduled = false;

  constructor(socket: Bun.Socket<unknown>) {
    this.#socket = socket;
  }

  send(text: string): void {
    this.#text += text;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.flush());
  }

  /** Also the socket's `drain`. */
  flush(): void {
    this.#scheduled = false;
    if (this.#rest !== undefined) {
      this.#rest = this.#write(this.#rest);
      if (this.#rest !== undefined) return;
    }
    if (this.#text === "") return;
    const bytes = Buffer.from(this.#text);
    this.#text = "";
    this.#rest = this.#write(bytes);
  }

  #write(bytes: Buffer): Buffer | undefined {
    const taken = Math.max(0, this.#socket.write(bytes));
    return taken < bytes.length ? bytes.subarray(taken) : undefined;
  }
}
