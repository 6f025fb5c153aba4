import type { WireCode } from "../base/errors.ts";

/** Who a call is made for, as a module sees it in `ctx.client`. */
export interface CallClient {
  readonly fingerprint: string;
  readonly name?: string;
}

/** One call of a module, already allowed and bounded by the session. */
export interface CallRequest {
  /** The arguments as a JSON string literal, ready to be spliced into a frame. */
  readonly argsJson: string;
  /** The deadline, from now. */
  readonly timeoutMs: number;
  readonly client: CallClient;
  /** The requester's REF, for the module's own logs. */
  readonly ref: string;
}

/** How a call ended. `resultJson` is the result as a JSON string literal, ready to be spliced into a payload. */
export type CallOutcome =
  | { readonly ok: true; readonly resultJson: string }
  | {
      readonly ok: false;
      readonly code: WireCode;
      readonly message: string;
      /** False when nothing of the module has run for this call; undefined when it may have. */
      readonly started?: false;
    };

/** Where a call's answers go; the session implements it. */
export interface CallSink {
  /**
   * One streamed part, `dataJson` a JSON string literal. False means: the client reads slowly, send no more
   * before `Call.resume()`. What is under way may still come, a bounded window of it.
   */
  part(dataJson: string): boolean;
  /** A progress report, as the JSON text of `{"fraction"?,"message"?}`. */
  progress(json: string): void;
  /** The end, exactly once and last; it may come before `call()` has returned. */
  done(outcome: CallOutcome): void;
}

/** A call in flight. Both methods do nothing after its end. */
export interface Call {
  /** Ends it: the sink gets `code` at once, the module its abort signal, and later its process the kill. */
  abort(code: "cancelled" | "shutting_down", message: string): void;
  /** The client reads again. */
  resume(): void;
}
