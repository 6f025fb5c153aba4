import { type Deadline, deadlines } from "../base/deadlines.ts";
import { VeripyError } from "../base/errors.ts";
import type { CloseReason, Duplex } from "./duplex.ts";
import type { Lane } from "./fair-queue.ts";
import { encodeFrame, type Frame, FrameDecoder } from "./frame.ts";

export interface ChannelOptions {
  /** One received line, newline excluded. */
  maxLineBytes: number;
  /** Requests and broadcasts of the other end: every frame that answers nothing of ours. */
  onFrame(frame: Frame): void;
  /** What it means that the other end, or the network, has ended this; requests are rejected with it too. */
  explain?(reason: CloseReason): VeripyError;
  /** The end, exactly once and last. Every pending request has been settled by then. */
  onClosed(reason: CloseReason): void;
  onDrained?(): void;
  /** A chunk has arrived and its frames were handled. */
  onReceived?(): void;
}

export interface RequestOptions {
  readonly timeoutMs: number;
  /**
   * The deadline starts anew whenever something has arrived on the connection: a long answer on a slow link is late only
   * if nothing comes. Bounded by `maxExtensions` times `timeoutMs`, so a trickle can't hold a request for ever.
   */
  readonly countsProgress?: boolean;
  /** Frames with the request's REF that are not its answer, in order of arrival. */
  onPart?(frame: Frame): void;
  /** Gives the request up: it is rejected with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the request is given up, by its deadline or its signal, while the channel is open. */
  onGivenUp?(ref: string): void;
}

/** A request whose promise settles with what its answer means. */
export interface Question<T> extends RequestOptions {
  /** The whole line of the request, newline included, as `encodeFrame` writes it. */
  line(ref: string): string;
  /** What the promise resolves with; what this throws, it is rejected with. */
  decode(answer: Frame): T;
  /** What the promise resolves with instead, when `decode` has thrown. */
  recover?(error: unknown): Promise<T> | undefined;
  /** What the promise is rejected with when there was no answer; `isSent` is false if the request never left. */
  unanswered?(error: VeripyError, isSent: boolean): VeripyError;
}

/**
 * Requests and answers over a duplex. Both ends may ask. An answer carries the REF of its request and a type
 * that ends in `_resp`, or is `error` or `pong`; other frames with that REF are parts of it.
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

  /** The other end reads slowly; `onDrained` follows. */
  get isHigh(): boolean {
    return this.#duplex.isHigh;
  }

  /** Requests of ours that have no answer yet. */
  get pendingRequests(): number {
    return this.#pending.size;
  }

  /**
   * Sends a frame that expects no answer. Ignored after the end. When the connection is congested, frames of one lane
   * stay in order; one without a lane stays in order with all others.
   */
  send(api: string, type: string, ref: string, json: string, lane?: Lane): void {
    this.#duplex.write(encodeFrame(api, type, ref, json), false, lane);
  }

  /** The same for a frame that is a line already, newline included. */
  sendLine(line: string, lane?: Lane): void {
    this.#duplex.write(line, false, lane);
  }

  /**
   * Asks, and resolves with the answer's frame. Rejects with `timeout`, or with the reason the channel ended.
   * A late answer is dropped.
   */
  request(api: string, type: string, json: string, options: RequestOptions): Promise<Frame> {
    const line = (ref: string) => encodeFrame(api, type, ref, json);
    return this.ask(api, { ...options, line, decode: (frame) => frame });
  }

  /** The same, decoding the answer on the way: one promise less for whoever asks often. */
  ask<T>(api: string, question: Question<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== undefined || question.signal?.aborted === true) {
        const error = this.#closedBy === undefined ? cancelled() : this.#closedError();
        return reject(question.unanswered?.(error, false) ?? error);
      }
      this.#nextRef += 1;
      const ref = this.#nextRef;
      const pending = new PendingRequest(this.#pending, this.#arrivals, api, ref, resolve, reject, question);
      this.#pending.set(ref, pending as PendingRequest<unknown>);
      this.#duplex.write(question.line(String(ref)));
    });
  }

  pause(): void {
    this.#duplex.pause();
  }

  resume(): void {
    this.#duplex.resume();
  }

  /**
   * Ends in order; what was sent still leaves. Nothing is decoded from here on, whatever the other end sends. Pending
   * requests are rejected with `closed`. Idempotent.
   */
  close(): void {
    this.#settle(undefined);
    this.#duplex.close();
  }

  /** Ends at once. Idempotent; the first reason stands. */
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
      // The last word before the end: what was wrong, in a form that needs no REF.
      const code = error.code === "too_large" ? "too_large" : "bad_request";
      this.send("sys", "error", "-", JSON.stringify({ error: error.message, code }));
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
    // The other end chooses its own refs for broadcasts; those are of another API than any request.
    if (pending === undefined || pending.api !== frame.api) this.#options.onFrame(frame);
    else if (isAnswer(frame.type)) pending.answer(frame);
    else if (pending.takesParts) pending.part(frame);
    else this.#options.onFrame(frame);
  };

  #settle(reason: CloseReason): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = { reason };
    this.#decoder.stop();
    // Most connections end with nothing pending, and an error costs a stack.
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

/** With the client's default of 10 s, a request may take five minutes. */
const maxExtensions = 30;

class PendingRequest<T> {
  readonly api: string;
  readonly #all: Map<number, PendingRequest<unknown>>;
  readonly #ref: number;
  readonly #resolve: (value: T | Promise<T>) => void;
  readonly #reject: (error: unknown) => void;
  readonly #options: Question<T>;
  readonly #arrivals: { readonly count: number };
  #deadline: Deadline;
  #arrivedBefore: number;
  #extensions = 0;

  constructor(
    all: Map<number, PendingRequest<unknown>>,
    arrivals: { readonly count: number },
    api: string,
    ref: number,
    resolve: (value: T | Promise<T>) => void,
    reject: (error: unknown) => void,
    options: Question<T>,
  ) {
    this.api = api;
    this.#all = all;
    this.#arrivals = arrivals;
    this.#arrivedBefore = arrivals.count;
    this.#ref = ref;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#options = options;
    this.#deadline = deadlines.arm(this, options.timeoutMs);
    options.signal?.addEventListener("abort", this);
  }

  get takesParts(): boolean {
    return this.#options.onPart !== undefined;
  }

  part(frame: Frame): void {
    this.#options.onPart?.(frame);
  }

  answer(frame: Frame): void {
    this.#end();
    let value: T | Promise<T>;
    try {
      value = this.#options.decode(frame);
    } catch (error) {
      const instead = this.#options.recover?.(error);
      if (instead === undefined) {
        this.#reject(error);
        return;
      }
      value = instead;
    }
    this.#resolve(value);
  }

  fail(error: VeripyError): void {
    this.#end();
    this.#reject(this.#options.unanswered?.(error, true) ?? error);
  }

  expire(): void {
    if (this.#hasProgressed()) {
      this.#arrivedBefore = this.#arrivals.count;
      this.#extensions += 1;
      this.#deadline = deadlines.arm(this, this.#options.timeoutMs);
      return;
    }
    this.#giveUp(new VeripyError("timeout", `No answer came within ${this.#options.timeoutMs} ms.`));
  }

  #hasProgressed(): boolean {
    if (this.#options.countsProgress !== true || this.#extensions >= maxExtensions) return false;
    return this.#arrivals.count > this.#arrivedBefore;
  }

  /** The signal's `abort` event. */
  handleEvent(): void {
    this.#giveUp(cancelled());
  }

  #giveUp(error: VeripyError): void {
    this.fail(error);
    this.#options.onGivenUp?.(String(this.#ref));
  }

  #end(): void {
    this.#deadline.disarm();
    this.#options.signal?.removeEventListener("abort", this);
    this.#all.delete(this.#ref);
  }
}

export function cancelled(): VeripyError {
  return new VeripyError("cancelled", "The request was cancelled.");
}
