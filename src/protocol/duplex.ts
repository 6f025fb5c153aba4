import { VeripyError } from "../base/errors.ts";

/** Why a duplex ended. `undefined` is the orderly end: either side said goodbye. */
export type CloseReason = VeripyError | undefined;

/** What a duplex calls. Set once, before anything arrives; `closed` comes exactly once and last. */
export interface DuplexHandler {
  /** A chunk that the transport reuses after the call: copy what must outlive it. */
  data(chunk: Uint8Array): void;
  /** The queue that was over `highWaterBytes` is empty again. */
  drained?(): void;
  closed(reason: CloseReason): void;
}

/**
 * Bytes both ways, whatever carries them. Text that is written while one event is handled leaves in one write, and
 * with it what was allowed to wait; what the transport does not take at once is queued up to `maxQueuedBytes`.
 */
export interface Duplex {
  /** Bytes accepted but not yet handed to the transport. */
  readonly queuedBytes: number;
  /** More than the high-water mark is queued; `drained` follows when it is empty again. */
  readonly isHigh: boolean;
  readonly isClosed: boolean;
  /** Starts delivery, of what came before too. Call it once. */
  attach(handler: DuplexHandler): void;
  /**
   * Queues text. Ignored after the end: the caller learns of that from `closed`. Text that may wait leaves when all
   * that has arrived by now is handled: right for what is sent on behalf of many, when more is likely to come.
   */
  write(text: string, mayWait?: boolean): void;
  /** Stops and restarts reading, so that the peer's own queue fills instead of ours. */
  pause(): void;
  resume(): void;
  /** Ends in order: what is queued still leaves, then the transport is closed. Idempotent. */
  close(): void;
  /** Ends at once, throwing away what is queued. Idempotent; the first reason stands. */
  abort(reason: VeripyError): void;
}

/** The part of `Bun.Socket` that a duplex needs; both a TLS socket and a socket over a descriptor have it. */
export interface RawSocket {
  write(data: Uint8Array): number;
  end(): void;
  terminate(): void;
  pause(): void;
  resume(): void;
}

export interface SocketDuplexOptions {
  /** Past this much unsent output the duplex aborts with `too_large`. */
  maxQueuedBytes: number;
  /** From here on `write` callers should slow down; `drained` tells when to go on. */
  highWaterBytes?: number;
  /** After `close()`, how long the peer has to take what is queued. */
  closeMs?: number;
}

/**
 * A Bun socket as a duplex. Bun's `write` takes what fits and keeps nothing of the rest, so the rest is kept
 * here. The owner of the socket forwards its events: `received`, `writable`, `ended`.
 */
export class SocketDuplex implements Duplex {
  readonly #socket: RawSocket;
  readonly #maxQueuedBytes: number;
  readonly #highWaterBytes: number;
  readonly #closeMs: number;
  #handler: DuplexHandler | undefined;
  /** Text that waits for the flush, not yet encoded. */
  #text = "";
  #flushesNow = false;
  #flushesLater = false;
  /** Encoded bytes that the socket did not take. */
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  #wasHigh = false;
  #closing = false;
  #closed = false;
  /** What came before `attach`: the other end may speak in the very packet that ends the handshake. */
  #early: Early | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: RawSocket, options: SocketDuplexOptions) {
    this.#socket = socket;
    this.#maxQueuedBytes = options.maxQueuedBytes;
    this.#highWaterBytes = options.highWaterBytes ?? options.maxQueuedBytes / 4;
    this.#closeMs = options.closeMs ?? 2_000;
  }

  get queuedBytes(): number {
    // A UTF-16 unit is at least one byte; exact enough for a threshold.
    return this.#restBytes + this.#text.length;
  }

  get isHigh(): boolean {
    return this.#wasHigh;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  attach(handler: DuplexHandler): void {
    this.#handler = handler;
    if (this.#early !== undefined) queueMicrotask(this.#deliverEarly);
  }

  readonly #deliverEarly = (): void => {
    const early = this.#early;
    this.#early = undefined;
    if (early === undefined) return;
    for (const chunk of early.chunks) {
      // The handler may have aborted at the chunk before.
      if (this.#closed && early.end === undefined) return;
      this.#handler?.data(chunk);
    }
    if (early.end !== undefined) this.#handler?.closed(early.end.reason);
  };

  write(text: string, mayWait = false): void {
    if (this.#closed || this.#closing) return;
    this.#text += text;
    // Told at once, not when the turn is over: one chunk may hold thousands of requests for large answers.
    if (this.queuedBytes > this.#highWaterBytes) this.#wasHigh = true;
    if (mayWait) {
      if (this.#flushesLater || this.#flushesNow) return;
      this.#flushesLater = true;
      setImmediate(this.#flushLater);
    } else if (!this.#flushesNow) {
      this.#flushesNow = true;
      queueMicrotask(this.#flushNow);
    }
  }

  readonly #flushNow = (): void => {
    this.#flushesNow = false;
    this.#flushAll();
  };

  readonly #flushLater = (): void => {
    this.#flushesLater = false;
    this.#flushAll();
  };

  #flushAll(): void {
    this.#flush();
    if (this.queuedBytes === 0 && !this.#closing) this.#tellDrained();
  }

  #flush(): void {
    if (this.#closed || this.#text === "") return;
    const bytes = encoder.encode(this.#text);
    this.#text = "";
    // What waits is over the limit only if the peer takes nothing of it now; its drain event may be yet to come.
    if (this.#restBytes + bytes.length > this.#maxQueuedBytes) this.#sendRest();
    if (this.#restBytes > 0) {
      // One frame may be larger than the cap (a whole module tree); a queue of them may not.
      if (this.#restBytes + bytes.length > this.#maxQueuedBytes) this.#overflow();
      else this.#keep(bytes);
      return;
    }
    const taken = this.#socket.write(bytes);
    if (taken < 0) return; // The socket is closed; its close event follows.
    if (taken < bytes.length) this.#keep(taken === 0 ? bytes : bytes.subarray(taken));
    else if (this.#closing) this.#socket.end();
  }

  #sendRest(): void {
    while (this.#rest.length > 0) {
      const first = this.#rest[0] as Uint8Array;
      const taken = this.#socket.write(first);
      if (taken <= 0) return;
      this.#restBytes -= taken;
      if (taken < first.length) {
        this.#rest[0] = first.subarray(taken);
        return;
      }
      this.#rest.shift();
    }
  }

  #tellDrained(): void {
    if (!this.#wasHigh) return;
    this.#wasHigh = false;
    if (!this.#closed) this.#handler?.drained?.();
  }

  #keep(bytes: Uint8Array): void {
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
    if (this.#restBytes > this.#highWaterBytes) this.#wasHigh = true;
  }

  #overflow(): void {
    this.abort(
      new VeripyError(
        "too_large",
        `The peer does not read: ${this.#restBytes} bytes are waiting for it, the limit is ${this.#maxQueuedBytes}.`,
      ),
    );
  }

  /** The socket's `data` event. */
  received(chunk: Uint8Array): void {
    if (this.#closed) return;
    if (this.#handler !== undefined && this.#early === undefined) this.#handler.data(chunk);
    else this.#keepEarly(chunk);
  }

  #keepEarly(chunk: Uint8Array): void {
    this.#early ??= { chunks: [], bytes: 0, end: undefined };
    this.#early.bytes += chunk.length;
    if (this.#early.bytes <= this.#maxQueuedBytes) this.#early.chunks.push(chunk.slice());
    else this.abort(new VeripyError("too_large", "The peer sent too much before anybody listened."));
  }

  /** The socket's `drain` event. */
  writable(): void {
    this.#sendRest();
    if (this.#restBytes > 0) return;
    if (this.#closing) this.#socket.end();
    else this.#tellDrained();
  }

  /** The socket's `close` or `error` event, whichever comes first. */
  ended(reason: CloseReason): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#closeTimer);
    this.#rest = [];
    this.#restBytes = 0;
    this.#text = "";
    if (this.#handler !== undefined && this.#early === undefined) this.#handler.closed(reason);
    else {
      this.#early ??= { chunks: [], bytes: 0, end: undefined };
      this.#early.end = { reason };
    }
  }

  pause(): void {
    if (!this.#closed) this.#socket.pause();
  }

  resume(): void {
    if (!this.#closed) this.#socket.resume();
  }

  close(): void {
    if (this.#closed || this.#closing) return;
    this.#flush();
    this.#closing = true;
    if (this.#restBytes === 0) this.#socket.end();
    // A peer that never reads, or never answers our end, must not hold the connection.
    this.#closeTimer = setTimeout(() => {
      this.#socket.terminate();
      this.ended(undefined);
    }, this.#closeMs);
    this.#closeTimer.unref();
  }

  abort(reason: VeripyError): void {
    if (this.#closed) return;
    this.#early = undefined;
    // In this order: `terminate` fires the socket's close event at once, which has no reason to give.
    this.ended(reason);
    this.#socket.terminate();
  }
}

interface Early {
  readonly chunks: Uint8Array[];
  bytes: number;
  end: { reason: CloseReason } | undefined;
}

const encoder = new TextEncoder();
