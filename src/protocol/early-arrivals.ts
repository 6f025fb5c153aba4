import type { CloseReason, DuplexHandler } from "./duplex.ts";

/** What a transport received before a handler was attached: the peer may send data in the packet that ends the handshake. */
export class EarlyArrivals {
  readonly #maxBytes: number;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #end: { reason: CloseReason } | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Keeps a copy of the chunk. False: that would be more than `maxBytes`, and nothing was kept. */
  add(chunk: Uint8Array): boolean {
    if (this.#bytes + chunk.length > this.#maxBytes) return false;
    this.#bytes += chunk.length;
    this.#chunks.push(chunk.slice());
    return true;
  }

  /** The transport has ended. */
  end(reason: CloseReason): void {
    this.#end = { reason };
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Delivers everything in order. `isStopped` is asked before each chunk, because the handler may close or abort. */
  deliver(handler: DuplexHandler, isStopped: () => boolean): void {
    for (const chunk of this.#chunks) {
      if (isStopped()) break;
      handler.data(chunk);
    }
    if (this.#end !== undefined) handler.closed(this.#end.reason);
  }
}
