import { VeripyError } from "../base/errors.ts";
import type { CloseReason, Duplex } from "./duplex.ts";
import type { Lane } from "./fair-queue.ts";
import { encodeFrame, type Frame, FrameDecoder } from "./frame.ts";
import { errorPayload } from "./messages.ts";
import { cancelled, type DecodedRequest, PendingRequest, type RequestOptions } from "./pending-request.ts";

export interface ChannelOptions {
  /** The longest line accepted from the peer, newline excluded. */
  maxLineBytes: number;
  /** Called with the peer's requests and broadcasts: every frame that does not answer one of our requests. */
  onFrame(frame: Frame): void;
  /** Turns the reason why the peer or the network ended the connection into the error that requests are rejected with. */
  explain?(reason: CloseReason): VeripyError;
  /** Called exactly once, last. Every pending request has been settled by then. */
  onClosed(reason: CloseReason): void;
  onDrained?(): void;
  /** A chunk has arrived and its frames were handled. */
  onReceived?(): void;
}

/**
 * Requests and answers over a duplex. Either end may send requests. An answer carries the REF of its request and a type
 * that ends in `_resp`, or is `error` or `pong`; other frames with that REF are parts of the answer.
 */
export class Channel {
  readonly #duplex: Duplex;
  readonly #options: ChannelOptions;
  readonly #decoder: FrameDecoder;
  readonly #pending = new Map<number, PendingRequest<unknown>>();
  /** Chunks that have arrived. */
  readonly #arrivals = { count: 0 };
  #nextRef = 0;
  #closedBy: { reason: CloseReason } | undefined;

  constructor(duplex: Duplex, options: ChannelOptions) {
    this.#duplex = duplex;
    this.#options = options;
    this.#decoder = new FrameDecoder(options.maxLineBytes);
    duplex.attach({
      data: (chunk) => this.#data(chunk),
      drained: () => this.#options.onDrained?.(),
      closed: (reason) => this.#ended(reason),
    });
  }

  get isClosed(): boolean {
    return this.#closedBy !== undefined;
  }

  get queuedBytes(): number {
    return this.#duplex.queuedBytes;
  }

  /** Streams should wait; `onDrained` follows. */
  get isFull(): boolean {
    return this.#duplex.isFull;
  }

  /** The peer reads slowly; `onDrained` follows. */
  get isHigh(): boolean {
    return this.#duplex.isHigh;
  }

  /**
   * Sends a frame that expects no answer. Ignored once the channel is closed. When the connection is congested, frames
   * of one lane stay in order; a frame without a lane stays in order with all others.
   */
  send(api: string, type: string, ref: string, json: string, lane?: Lane): void {
    this.#duplex.write(encodeFrame(api, type, ref, json), false, lane);
  }

  /** Like `send`, for a frame that is already a line, newline included. */
  sendLine(line: string, lane?: Lane): void {
    this.#duplex.write(line, false, lane);
  }

  /**
   * Sends a request and resolves with the answer's frame. Rejects with `timeout`, `cancelled`, or the reason why the
   * channel ended. An answer that comes later goes to `onFrame`.
   */
  request(api: string, type: string, json: string, options: RequestOptions): Promise<Frame> {
    const line = (ref: string) => encodeFrame(api, type, ref, json);
    return this.requestDecoded(api, { ...options, line, decode: (frame) => frame });
  }

  /** Like `request`, but resolves with the decoded answer. That saves callers in a hot path one promise per request. */
  requestDecoded<T>(api: string, request: DecodedRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== undefined || request.signal?.aborted === true) {
        const error = this.#closedBy === undefined ? cancelled() : this.#closedError();
        return reject(request.unanswered?.(error, false) ?? error);
      }
      this.#nextRef += 1;
      const ref = this.#nextRef;
      const pending = new PendingRequest(this.#pending, this.#arrivals, api, ref, resolve, reject, request);
      this.#pending.set(ref, pending as PendingRequest<unknown>);
      this.#duplex.write(request.line(String(ref)));
    });
  }

  pause(): void {
    this.#duplex.pause();
  }

  resume(): void {
    this.#duplex.resume();
  }

  /**
   * Closes the connection once everything written has left. Nothing that arrives from here on is decoded. Pending
   * requests are rejected with `closed`. Idempotent.
   */
  close(): void {
    this.#settle(undefined);
    this.#duplex.close();
  }

  /** Closes the connection at once. Idempotent; the first reason stands. */
  abort(reason: VeripyError): void {
    this.#settle(reason);
    this.#duplex.abort(reason);
  }

  #data(chunk: Uint8Array): void {
    this.#arrivals.count += 1;
    if (this.#closedBy !== undefined) return;
    try {
      this.#decoder.push(chunk, this.#frame);
    } catch (error) {
      if (!(error instanceof VeripyError)) throw error;
      if (this.#closedBy !== undefined) return;
      // Tell the peer what was wrong. The broken line has no REF that could be used.
      const code = error.code === "too_large" ? "too_large" : "bad_request";
      this.send("sys", "error", "-", errorPayload(code, error.message));
      this.#settle(error);
      this.#duplex.close();
      return;
    }
    this.#options.onReceived?.();
  }

  readonly #frame = (frame: Frame): void => {
    if (this.#pending.size === 0) {
      this.#options.onFrame(frame);
      return;
    }
    const pending = this.#pending.get(frame.refNumber);
    // The peer numbers its broadcasts itself, so a broadcast may have the REF of one of our requests, but never its API.
    if (pending === undefined || pending.api !== frame.api) this.#options.onFrame(frame);
    else if (isAnswer(frame.type)) pending.answer(frame);
    else if (pending.takesParts) pending.part(frame);
    else this.#options.onFrame(frame);
  };

  #settle(reason: CloseReason): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = { reason };
    this.#decoder.stop();
    // Most connections end with nothing pending, and creating an error captures a stack.
    if (this.#pending.size === 0) return;
    const error = this.#closedError();
    for (const pending of [...this.#pending.values()]) pending.fail(error);
  }

  #closedError(): VeripyError {
    return this.#closedBy?.reason ?? new VeripyError("closed", "The connection is closed.");
  }

  #ended(reason: CloseReason): void {
    if (this.#closedBy === undefined) this.#settle(this.#options.explain?.(reason) ?? reason);
    this.#options.onClosed(this.#closedBy?.reason);
  }
}

function isAnswer(type: string): boolean {
  return type.endsWith("_resp") || type === "error" || type === "pong";
}
