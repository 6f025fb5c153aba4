import { type Deadline, deadlines } from "../base/deadlines.ts";
import { VeripyError } from "../base/errors.ts";
import type { Frame } from "./frame.ts";

export interface RequestOptions {
  readonly timeoutMs: number;
  /**
   * Restarts the deadline while data keeps arriving on the connection, so that a long answer on a slow link is not late.
   * A request is extended at most `maxExtensions` times, so a trickle of bytes can't hold it forever.
   */
  readonly countsProgress?: boolean;
  /** Called with each frame that has the request's REF but is not its answer, in order of arrival. */
  onPart?(frame: Frame): void;
  /** Aborting it rejects the request with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the deadline or the signal ends the request while the channel is open. */
  onGivenUp?(ref: string): void;
}

/** A request whose promise resolves with its decoded answer. */
export interface DecodedRequest<T> extends RequestOptions {
  /** The whole line of the request, newline included, as `encodeFrame` writes it. */
  line(ref: string): string;
  /** The promise resolves with what this returns, and rejects with what it throws. */
  decode(answer: Frame): T | Promise<T>;
  /** The error to reject with when no answer came. `isSent` is false if the request never left. */
  unanswered?(error: VeripyError, isSent: boolean): VeripyError;
}

/** With the client's default timeout of 10 s, a request may take five minutes. */
const maxExtensions = 30;

/** One request that has been sent and not yet answered. Each of `answer`, `fail` and `expire` removes it from the table. */
export class PendingRequest<T> {
  readonly api: string;
  readonly #table: Map<number, PendingRequest<unknown>>;
  readonly #ref: number;
  readonly #resolve: (value: T | Promise<T>) => void;
  readonly #reject: (error: unknown) => void;
  readonly #request: DecodedRequest<T>;
  readonly #arrivals: { readonly count: number };
  #deadline: Deadline;
  #arrivedBefore: number;
  #extensions = 0;

  /** `arrivals` counts the chunks that have arrived on the connection. */
  constructor(
    table: Map<number, PendingRequest<unknown>>,
    arrivals: { readonly count: number },
    api: string,
    ref: number,
    resolve: (value: T | Promise<T>) => void,
    reject: (error: unknown) => void,
    request: DecodedRequest<T>,
  ) {
    this.api = api;
    this.#table = table;
    this.#arrivals = arrivals;
    this.#arrivedBefore = arrivals.count;
    this.#ref = ref;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#request = request;
    this.#deadline = deadlines.arm(this, request.timeoutMs);
    request.signal?.addEventListener("abort", this);
  }

  get takesParts(): boolean {
    return this.#request.onPart !== undefined;
  }

  part(frame: Frame): void {
    this.#request.onPart?.(frame);
  }

  answer(frame: Frame): void {
    this.#end();
    let value: T | Promise<T>;
    try {
      value = this.#request.decode(frame);
    } catch (error) {
      this.#reject(error);
      return;
    }
    this.#resolve(value);
  }

  fail(error: VeripyError): void {
    this.#end();
    this.#reject(this.#request.unanswered?.(error, true) ?? error);
  }

  /** Called by the deadline. */
  expire(): void {
    if (this.#hasProgressed()) {
      this.#arrivedBefore = this.#arrivals.count;
      this.#extensions += 1;
      this.#deadline = deadlines.arm(this, this.#request.timeoutMs);
      return;
    }
    this.#giveUp(new VeripyError("timeout", `No answer came within ${this.#request.timeoutMs} ms.`));
  }

  #hasProgressed(): boolean {
    if (this.#request.countsProgress !== true || this.#extensions >= maxExtensions) return false;
    return this.#arrivals.count > this.#arrivedBefore;
  }

  /** The signal's `abort` event. */
  handleEvent(): void {
    this.#giveUp(cancelled());
  }

  #giveUp(error: VeripyError): void {
    this.fail(error);
    this.#request.onGivenUp?.(String(this.#ref));
  }

  #end(): void {
    this.#deadline.disarm();
    this.#request.signal?.removeEventListener("abort", this);
    this.#table.delete(this.#ref);
  }
}

export function cancelled(): VeripyError {
  return new VeripyError("cancelled", "The request was cancelled.");
}
