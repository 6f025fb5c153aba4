import type { WireCode } from "../../base/errors.ts";

/** Takes what becomes of one call in its process. Exactly one of the last three comes, once and last. */
export interface CallEvents {
  /** The version is being stopped: end the call. */
  abort(code: "shutting_down", message: string): void;
  /** A streamed part, a JSON string literal. */
  part(dataJson: string): void;
  /** The JSON text of `{"fraction"?,"message"?}`. */
  progress(json: string): void;
  /** The module has seen the abort, so its event loop is not blocked. */
  aborting(): void;
  /** `resultJson` is a JSON string literal. */
  succeeded(resultJson: string): void;
  failed(code: WireCode, message: string): void;
  /** The process has ended before the call did. */
  lost(reason: string): void;
}

export interface HostEvents {
  /** `takesCalls` may be true again. */
  available(): void;
  /** The process has ended, and each of its calls has been told. Called once, and last. */
  ended(reason: string): void;
}
