/** Codes that cross the wire in an answer's `code` field (see the protocol table in the README). */
export const wireCodes = [
  "bad_request",
  "not_found",
  "version_mismatch",
  "exec_failed",
  "timeout",
  "cancelled",
  "module_crashed",
  "too_large",
  "busy",
  "forbidden",
  "shutting_down",
] as const;
export type WireCode = (typeof wireCodes)[number];

/** Codes of errors that arise on this side and never cross the wire. */
export type LocalCode =
  /** A flag, an option, an environment variable or a file that cannot be used as it is. */
  | "bad_config"
  /** A key, certificate or trust file that is missing, unreadable or too widely readable. */
  | "bad_identity"
  /** The other end could not be reached, or the connection broke. */
  | "unreachable"
  /** The other end showed a key that is not the expected one, or did not accept ours. */
  | "untrusted"
  /** What was received is not what was reported or pinned. */
  | "verification_failed"
  /** The other end broke the protocol: no frame, too long a line, an answer of the wrong shape. */
  | "protocol_error"
  /** A module could not be read, hashed or loaded. */
  | "bad_module"
  /** The other end does not know this request. */
  | "unsupported"
  /** This side closed the thing that was being used. */
  | "closed";

export type ErrorCode = WireCode | LocalCode;

/** Whether a call that failed has run; see `VeripyError.started`. */
export type Started = false | "unknown" | undefined;

/**
 * The one error class of VeriPy. Callers decide by `code`, never by `message`.
 * A message says what could not be done, why, and what to do next.
 */
export class VeripyError extends Error {
  readonly code: ErrorCode;
  /** The message for this side's own log, with what the other end must not learn: paths, names of other modules. */
  readonly detail: string | undefined;
  /**
   * Of a call that failed. `false`: it was never sent, or was refused before the module began, so it has not run and may
   * be made again. `"unknown"`: it may have run. Undefined where the code says it, as `exec_failed` does, and for what
   * was no call.
   */
  started: Started;

  constructor(
    code: ErrorCode,
    message: string,
    options?: { cause?: unknown; detail?: string | undefined; started?: Started },
  ) {
    super(message, options);
    this.name = "VeripyError";
    this.code = code;
    this.detail = options?.detail;
    this.started = options?.started;
  }
}

/** The message for this side's own log and its operator. Never throws. */
export function detailOf(thrown: unknown): string {
  return (thrown instanceof VeripyError ? thrown.detail : undefined) ?? messageOf(thrown);
}

/** The message of anything that was thrown; modules and libraries throw all kinds of values. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message || thrown.name : thrown);
  } catch {
    return "something was thrown that cannot be shown";
  }
}

/** `EACCES: permission denied`, what a system error says before it names a path; undefined for any other. */
export function systemReasonOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return /^[A-Z0-9_]+: [^,]+/.exec(thrown.message)?.[0];
}

/** True for a Node-style system error (`ENOENT`, `EACCES`, …) with one of the given codes. */
export function isSystemError(thrown: unknown, ...codes: string[]): boolean {
  return thrown instanceof Error && "code" in thrown && codes.includes(String(thrown.code));
}
