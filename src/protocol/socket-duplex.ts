import { VeripyError } from "../base/errors.ts";
import type { CloseReason, Duplex, DuplexHandler } from "./duplex.ts";
import { EarlyArrivals } from "./early-arrivals.ts";
import { FairQueue, type Lane } from "./fair-queue.ts";

/** The part of `Bun.Socket` that a duplex needs. TLS sockets have it, and so do sockets over a file descriptor. */
export interface RawSocket {
  write(data: Uint8Array): number;
  shutdown(): void;
  terminate(): void;
  pause(): void;
  resume(): void;
}

export interface SocketDuplexOptions {
  /** The duplex aborts with `too_large` when more than this is queued. */
  maxQueuedBytes: number;
  /** Above this, `isHigh` asks the owner to accept no more work until `drained`. Default: a quarter of `maxQueuedBytes`. */
  highWaterBytes?: number;
  /** How long the peer has, after `close()`, to take what is queued. Default 2 s. */
  closeMs?: number;
}

/**
 * A Bun socket as a duplex. Bun's `write` accepts what fits and drops the rest, so the rest is kept here. The owner of
 * the socket forwards the socket's events to `received`, `writable` and `ended`.
 */
export class SocketDuplex implements Duplex {
  readonly #socket: RawSocket;
  readonly #maxQueuedBytes: number;
  readonly #fullBytes: number;
  readonly #highWaterBytes: number;
  readonly #closeMs: number;
  #handler: DuplexHandler | undefined;
  /** Text to send at the next flush, not yet encoded. */
  #text = "";
  #flushesNow = false;
  #flushesLater = false;
  /** What the socket did not accept of the last write. It must leave before anything else. */
  #rest: Uint8Array | undefined;
  /** What leaves after `#rest` and `#text`: everything written while the socket is congested, or beyond one piece. */
  readonly #queue = new FairQueue();
  #isFull = false;
  #isHigh = false;
  #isClosing = false;
  #isShutDown = false;
  #isClosed = false;
  /** Bytes that arrived after `close()`. */
  #lateBytes = 0;
  /** Set until what arrived before `attach` has been delivered. */
  #early: EarlyArrivals | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: RawSocket, options: SocketDuplexOptions) {
    this.#socket = socket;
    this.#maxQueuedBytes = options.maxQueuedBytes;
    this.#highWaterBytes = options.highWaterBytes ?? options.maxQueuedBytes / 4;
    this.#fullBytes = Math.min(64 * 1024, this.#highWaterBytes);
    this.#closeMs = options.closeMs ?? 2_000;
  }

  get queuedBytes(): number {
    // A UTF-16 unit is at least one byte; exact enough for a threshold.
    return (this.#rest?.length ?? 0) + this.#text.length + this.#queue.length;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  get isHigh(): boolean {
    return this.#isHigh;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  attach(handler: DuplexHandler): void {
    this.#handler = handler;
    if (this.#early !== undefined) queueMicrotask(this.#deliverEarly);
  }

  readonly #deliverEarly = (): void => {
    const early = this.#early;
    if (early === undefined || this.#handler === undefined) return;
    this.#early = undefined;
    early.deliver(this.#handler, () => this.#isClosing || (this.#isClosed && !early.hasEnded));
  };

  write(text: string, mayWait = false, lane?: Lane): void {
    if (this.#isClosed || this.#isClosing) return;
    if (
      this.#rest === undefined &&
      this.#queue.length === 0 &&
      this.#text.length + text.length <= pieceLength
    )
      this.#text += text;
    else this.#queue.add(text, lane);
    // Set at once and not after the turn: one chunk may hold thousands of requests for large answers.
    if (this.queuedBytes > this.#fullBytes) {
      this.#isFull = true;
      if (this.queuedBytes > this.#highWaterBytes) this.#isHigh = true;
    }
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
    if (this.queuedBytes === 0 && !this.#isClosing) this.#reportDrained();
  }

  #flush(): void {
    if (this.#isClosed) return;
    if (this.#rest === undefined) this.#send();
    else if (this.#isOverLimit) {
      // The peer may have read some of it, and the drain event may still be on its way.
      this.#send();
      if (this.#isOverLimit) this.#overflow();
    }
  }

  /** A single frame may exceed the limit (a whole module tree, for example), but a queue of frames may not. */
  get #isOverLimit(): boolean {
    return this.#queue.length > 0 && this.queuedBytes > this.#maxQueuedBytes;
  }

  /** Writes as much as the socket accepts, in pieces, so that later frames can still overtake what is in the queue. */
  #send(): void {
    for (;;) {
      const bytes = this.#rest ?? this.#nextBytes();
      if (bytes === undefined) break;
      const accepted = this.#socket.write(bytes);
      if (this.#isClosed) return;
      this.#rest = accepted >= bytes.length ? undefined : bytes.subarray(Math.max(accepted, 0));
      // The socket is full: its drain event follows, or its close event.
      if (this.#rest !== undefined) return;
    }
    if (this.#isClosing) this.#shutDown();
  }

  #nextBytes(): Uint8Array | undefined {
    const text = this.#text === "" ? this.#queue.take(pieceLength) : this.#text;
    this.#text = "";
    return text === "" ? undefined : encoder.encode(text);
  }

  /**
   * Ends this side's half of the connection. Bun's `end()` would close a paused TLS socket at once, and the reset may
   * overtake data that the peer has not read yet.
   */
  #shutDown(): void {
    if (this.#isShutDown) return;
    this.#isShutDown = true;
    this.#socket.shutdown();
  }

  #reportDrained(): void {
    if (!this.#isFull) return;
    if (this.queuedBytes === 0) {
      this.#isFull = false;
      this.#isHigh = false;
    }
    if (!this.#isClosed) this.#handler?.drained?.();
  }

  #overflow(): void {
    this.abort(
      new VeripyError(
        "too_large",
        `The peer does not read: ${this.queuedBytes} bytes are queued for it, and the limit is ${this.#maxQueuedBytes}.`,
      ),
    );
  }

  /** The socket's `data` event. */
  received(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#isClosing) {
      this.#late(chunk.length);
      return;
    }
    if (this.#handler !== undefined && this.#early === undefined) this.#handler.data(chunk);
    else this.#keepEarly(chunk);
  }

  /**
   * An honest peer may have sent something before it learns of our close, and its own close comes after that. A peer
   * that keeps sending is no longer read, so it blocks and costs nothing. It is disconnected only after `closeMs`, because
   * a reset may overtake the last frame sent to it.
   */
  #late(bytes: number): void {
    this.#lateBytes += bytes;
    if (this.#lateBytes > maxLateBytes) this.#socket.pause();
  }

  #keepEarly(chunk: Uint8Array): void {
    this.#early ??= new EarlyArrivals(this.#maxQueuedBytes);
    if (this.#early.add(chunk)) return;
    this.abort(new VeripyError("too_large", "The peer sent too much before its data was read."));
  }

  /** The socket's `drain` event. */
  writable(): void {
    if (this.#isClosed) return;
    this.#send();
    if (!this.#isClosing) this.#reportDrained();
  }

  /** The socket's `close` or `error` event, whichever comes first. */
  ended(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#closeTimer);
    this.#rest = undefined;
    this.#text = "";
    this.#queue.clear();
    if (this.#handler !== undefined && this.#early === undefined) this.#handler.closed(reason);
    else {
      this.#early ??= new EarlyArrivals(this.#maxQueuedBytes);
      this.#early.end(reason);
    }
  }

  pause(): void {
    if (!this.#isClosed && !this.#isClosing) this.#socket.pause();
  }

  resume(): void {
    if (!this.#isClosed && !this.#isClosing) this.#socket.resume();
  }

  close(): void {
    if (this.#isClosed || this.#isClosing) return;
    this.#flush();
    if (this.#isClosed) return;
    this.#isClosing = true;
    // A paused socket would not see the peer's close.
    this.#socket.resume();
    if (this.queuedBytes === 0) this.#shutDown();
    // A peer that never reads, or never closes its half, must not hold the connection.
    this.#closeTimer = setTimeout(() => {
      this.#socket.terminate();
      this.ended(undefined);
    }, this.#closeMs);
    this.#closeTimer.unref();
  }

  abort(reason: VeripyError): void {
    if (this.#isClosed) return;
    this.#early = undefined;
    // In this order, because `terminate` fires the socket's close event at once, without a reason.
    this.ended(reason);
    this.#socket.terminate();
  }
}

/** How much is encoded and handed to the socket at a time, unless one frame is longer. */
const pieceLength = 64 * 1024;
/** How much is still read, and discarded, after `close()`. */
const maxLateBytes = 64 * 1024;
const encoder = new TextEncoder();
