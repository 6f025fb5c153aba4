import { VeripyError } from "../base/errors.ts";
import { FairQueue, type Lane } from "./fair-queue.ts";

/** Why a duplex ended. `undefined` is the orderly end: either side said goodbye. */
export type CloseReason = VeripyError | undefined;

/** What a duplex calls. Set once, before anything arrives; `closed` comes exactly once and last. */
export interface DuplexHandler {
  /** A chunk that the transport reuses after the call: copy what must outlive it. */
  data(chunk: Uint8Array): void;
  /** Much was queued, and some of it has left; `isFull` and `isHigh` tell how it stands. */
  drained?(): void;
  closed(reason: CloseReason): void;
}

/**
 * Bytes both ways, whatever carries them. Text that is written while one event is handled leaves in one write, and
 * with it what was allowed to wait; what the transport does not take at once is queued up to `maxQueuedBytes`, and
 * leaves in the order that `FairQueue` gives it.
 */
export interface Duplex {
  /** Bytes accepted but not yet handed to the transport. */
  readonly queuedBytes: number;
  /** So much is queued that streams should wait; `drained` follows, at the latest when all of it has left. */
  readonly isFull: boolean;
  /** More than the high-water mark was queued, and not all of it has left yet. */
  readonly isHigh: boolean;
  readonly isClosed: boolean;
  /** Starts delivery, of what came before too. Call it once. */
  attach(handler: DuplexHandler): void;
  /**
   * Queues text. Ignored after the end: the caller learns of that from `closed`. Text that may wait leaves when all
   * that has arrived by now is handled: right for what is sent on behalf of many, when more is likely to come. Text of
   * one lane stays in order; without a lane, it stays in order with everything.
   */
  write(text: string, mayWait?: boolean, lane?: Lane): void;
  /** Stops and restarts reading, so that the peer's own queue fills instead of ours. */
  pause(): void;
  resume(): void;
  /**
   * Ends in order: what is queued still leaves, then the transport is closed. What arrives meanwhile is thrown away.
   * Idempotent.
   */
  close(): void;
  /** Ends at once, throwing away what is queued. Idempotent; the first reason stands. */
  abort(reason: VeripyError): void;
}

/** The part of `Bun.Socket` that a duplex needs; both a TLS socket and a socket over a descriptor have it. */
export interface RawSocket {
  write(data: Uint8Array): number;
  shutdown(): void;
  terminate(): void;
  pause(): void;
  resume(): void;
}

export interface SocketDuplexOptions {
  /** Past this much unsent output the duplex aborts with `too_large`. */
  maxQueuedBytes: number;
  /** From here on `write` callers should ask for no more; `drained` tells when to go on. */
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
  readonly #fullBytes: number;
  readonly #highWaterBytes: number;
  readonly #closeMs: number;
  #handler: DuplexHandler | undefined;
  /** Text that waits for the flush, not yet encoded. */
  #text = "";
  #flushesNow = false;
  #flushesLater = false;
  /** What the socket did not take of the last write. It has to leave before anything else. */
  #rest: Uint8Array | undefined;
  /** What comes after `#rest` and `#text`: everything while the socket is congested, and what makes a turn long. */
  readonly #queue = new FairQueue();
  #wasFull = false;
  #wasHigh = false;
  #closing = false;
  #hasEnded = false;
  #closed = false;
  /** Bytes that came after `close()`. */
  #lateBytes = 0;
  /** What came before `attach`: the other end may speak in the very packet that ends the handshake. */
  #early: Early | undefined;
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
    return this.#wasFull;
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
      // The handler may have closed or aborted at the chunk before.
      if (this.#closing || (this.#closed && early.end === undefined)) break;
      this.#handler?.data(chunk);
    }
    if (early.end !== undefined) this.#handler?.closed(early.end.reason);
  };

  write(text: string, mayWait = false, lane?: Lane): void {
    if (this.#closed || this.#closing) return;
    if (
      this.#rest === undefined &&
      this.#queue.length === 0 &&
      this.#text.length + text.length <= pieceLength
    )
      this.#text += text;
    else this.#queue.add(text, lane);
    // Told at once, not when the turn is over: one chunk may hold thousands of requests for large answers.
    if (this.queuedBytes > this.#fullBytes) {
      this.#wasFull = true;
      if (this.queuedBytes > this.#highWaterBytes) this.#wasHigh = true;
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
    if (this.queuedBytes === 0 && !this.#closing) this.#tellDrained();
  }

  #flush(): void {
    if (this.#closed) return;
    if (this.#rest === undefined) this.#send();
    else if (this.#isOver) {
      // The peer may have read meanwhile, and its drain event be yet to come.
      this.#send();
      if (this.#isOver) this.#overflow();
    }
  }

  /** One frame may be larger than the cap (a whole module tree); a queue of them may not. */
  get #isOver(): boolean {
    return this.#queue.length > 0 && this.queuedBytes > this.#maxQueuedBytes;
  }

  /** Hands on as much as the socket takes, in pieces: what comes later may still go ahead of what it has not taken. */
  #send(): void {
    for (;;) {
      const bytes = this.#rest ?? this.#nextBytes();
      if (bytes === undefined) break;
      const taken = this.#socket.write(bytes);
      if (this.#closed) return;
      this.#rest = taken >= bytes.length ? undefined : bytes.subarray(Math.max(taken, 0));
      // Not all of it: the drain event follows, or the close event of a socket that is closed.
      if (this.#rest !== undefined) return;
    }
    if (this.#closing) this.#end();
  }

  #nextBytes(): Uint8Array | undefined {
    const text = this.#text === "" ? this.#queue.take(pieceLength) : this.#text;
    this.#text = "";
    return text === "" ? undefined : encoder.encode(text);
  }

  /**
   * Ends this side's half of the connection. Not by Bun's `end()`: that closes a paused TLS socket at once, with a reset
   * that may overtake what the peer has yet to read.
   */
  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#socket.shutdown();
  }

  #tellDrained(): void {
    if (!this.#wasFull) return;
    if (this.queuedBytes === 0) {
      this.#wasFull = false;
      this.#wasHigh = false;
    }
    if (!this.#closed) this.#handler?.drained?.();
  }

  #overflow(): void {
    this.abort(
      new VeripyError(
        "too_large",
        `The peer does not read: ${this.queuedBytes} bytes are waiting for it, the limit is ${this.#maxQueuedBytes}.`,
      ),
    );
  }

  /** The socket's `data` event. */
  received(chunk: Uint8Array): void {
    if (this.#closed) return;
    if (this.#closing) {
      this.#late(chunk.length);
      return;
    }
    if (this.#handler !== undefined && this.#early === undefined) this.#handler.data(chunk);
    else this.#keepEarly(chunk);
  }

  /**
   * An honest peer may have sent something before it sees the end, and its own goodbye comes behind that. A peer that
   * goes on sending is no longer read: it costs nothing more, and blocks. It is cut off after `closeMs` and not before,
   * because a reset may overtake the last word.
   */
  #late(bytes: number): void {
    this.#lateBytes += bytes;
    if (this.#lateBytes > maxLateBytes) this.#socket.pause();
  }

  #keepEarly(chunk: Uint8Array): void {
    this.#early ??= { chunks: [], bytes: 0, end: undefined };
    this.#early.bytes += chunk.length;
    if (this.#early.bytes <= this.#maxQueuedBytes) this.#early.chunks.push(chunk.slice());
    else this.abort(new VeripyError("too_large", "The peer sent too much before anybody listened."));
  }

  /** The socket's `drain` event. */
  writable(): void {
    if (this.#closed) return;
    this.#send();
    if (!this.#closing) this.#tellDrained();
  }

  /** The socket's `close` or `error` event, whichever comes first. */
  ended(reason: CloseReason): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#closeTimer);
    this.#rest = undefined;
    this.#text = "";
    this.#queue.clear();
    if (this.#handler !== undefined && this.#early === undefined) this.#handler.closed(reason);
    else {
      this.#early ??= { chunks: [], bytes: 0, end: undefined };
      this.#early.end = { reason };
    }
  }

  pause(): void {
    if (!this.#closed && !this.#closing) this.#socket.pause();
  }

  resume(): void {
    if (!this.#closed && !this.#closing) this.#socket.resume();
  }

  close(): void {
    if (this.#closed || this.#closing) return;
    this.#flush();
    if (this.#closed) return;
    this.#closing = true;
    // Else the peer's goodbye would not be seen.
    this.#socket.resume();
    if (this.queuedBytes === 0) this.#end();
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

/** What is encoded and handed to the socket at a time, or one frame. */
const pieceLength = 64 * 1024;
/** What is read and thrown away after `close()`. */
const maxLateBytes = 64 * 1024;
const encoder = new TextEncoder();
