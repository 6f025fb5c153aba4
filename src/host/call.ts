import type { WireCode } from "../base/errors.ts";

/** The client that made a call, as a module sees it in `ctx.client`. */
export interface CallClient {
  readonly fingerprint: string;
  readonly name?: string;
}

/** One call of a module, already permitted and within the limits of the session. */
export interface CallRequest {
  /** The arguments as a JSON string literal, ready to be copied into a frame. */
  readonly argsJson: string;
  /** The deadline, from now. */
  readonly timeoutMs: number;
  readonly client: CallClient;
  /** The requester's REF, for the module's own logs. */
  readonly ref: string;
}

/** How a call ended. `resultJson` is the result as a JSON string literal, ready to be copied into a payload. */
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
   * One streamed part, `dataJson` a JSON string literal. False: the client reads slowly, so send no more
   * before `Call.resume()`. Parts that are already on their way may still come, up to a limit.
   */
  part(dataJson: string): boolean;
  /** A progress report, as the JSON text of `{"fraction"?,"message"?}`. */
  progress(json: string): void;
  /** The end. Called exactly once, and last; perhaps before `call()` has returned. */
  done(outcome: CallOutcome): void;
}

/** A call in flight. Both methods do nothing after its end. */
export interface Call {
  /** The sink gets `code` at once. The module's signal is aborted; if that does not help, its process is killed. */
  abort(code: "cancelled" | "shutting_down", message: string): void;
  /** The client reads again. */
  resume(): void;
}
