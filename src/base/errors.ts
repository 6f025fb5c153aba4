/** Codes that cross the wire in an answer's `code` field (see docs/protocol.md). */
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
  /** A flag, option, environment variable or file that can't be used as it is. */
  | "bad_config"
  /** Arguments that do not fit a module's schema. They were not sent. */
  | "bad_arguments"
  /** A key, certificate or trust file that is missing, unreadable, or accessible to too many users. */
  | "bad_identity"
  /** The other end can't be reached, or the connection broke. */
  | "unreachable"
  /** The other end has an unexpected key, or did not accept ours. */
  | "untrusted"
  /** Received data does not match what was reported or pinned. */
  | "verification_failed"
  /** The code was not approved, or was denied, or it is unclear whose approvals apply. */
  | "not_approved"
  /** There is no catalogue that an allowed signer has signed and that can be accepted. */
  | "not_signed"
  /** The other end broke the protocol: an invalid frame, a line that is too long, an answer of the wrong shape. */
  | "protocol_error"
  /** A module can't be read, hashed or loaded. */
  | "bad_module"
  /** The other end does not know this request. */
  | "unsupported"
  /** It was closed on this side while in use. */
  | "closed";

export type ErrorCode = WireCode | LocalCode;

/** Whether a failed call has run. See `VeripyError.started`. */
export type Started = false | "unknown" | undefined;

/**
 * VeriPy's only error class, apart from subclasses that callers catch. Decide by `code`, never by `message`.
 * A message says what failed, why, and what to do.
 */
export class VeripyError extends Error {
  readonly code: ErrorCode;
  /** The message for the local log. It may contain what the other end must not learn, such as paths. */
  readonly detail: string | undefined;
  /**
   * For a failed call. `false`: it has not run, because it was never sent or was refused before the module began, so it
   * can safely be repeated. `"unknown"`: it may have run. Undefined when the code already says so, as `exec_failed`
   * does, and for anything but a call.
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

/** The message for the local log and the operator. Never throws. */
export function detailOf(thrown: unknown): string {
  return (thrown instanceof VeripyError ? thrown.detail : undefined) ?? messageOf(thrown);
}

/** The message of any thrown value: modules and libraries throw more than errors. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message || thrown.name : thrown);
  } catch {
    return "a value was thrown that cannot be shown";
  }
}

/** `EACCES: permission denied`: a system error's message without the path. Undefined for other errors. */
export function systemReasonOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return /^[A-Z0-9_]+: [^,]+/.exec(thrown.message)?.[0];
}

/** Whether it is a system error with one of the given codes, such as `ENOENT`. */
export function isSystemError(thrown: unknown, ...codes: string[]): boolean {
  return thrown instanceof Error && "code" in thrown && codes.includes(String(thrown.code));
}
