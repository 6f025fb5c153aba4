import { type Started, VeripyError } from "../base/errors.ts";

/**
 * Whether a call has run that the server answered with an error. What the server says counts. Older servers say
 * nothing, but refuse with these codes only before a call begins; their `shutting_down` may also end one that runs.
 */
export function startedOf(error: VeripyError, hasBegun: boolean): Started {
  if (hasBegun) return isFinal(error) ? undefined : "unknown";
  if (error.started === false || refusals.has(error.code)) return false;
  return isFinal(error) ? undefined : "unknown";
}

/** There was no connection to send a call over. */
export class NotSentError extends VeripyError {
  constructor({ code, message, cause, detail }: VeripyError) {
    super(code, message, { cause, detail, started: false });
    this.name = "NotSentError";
  }
}

const refusals = new Set(["bad_request", "not_found", "version_mismatch", "forbidden", "busy"]);

/** The code alone says what happened: the module ran, and this is what came of it. */
function isFinal({ code }: VeripyError): boolean {
  return code === "exec_failed" || code === "too_large";
}

/** The error with its `started`. A copy, where others may have the same one: all that waited for a connection do. */
export function withStarted(error: VeripyError, started: Started): VeripyError {
  if (error.started === started) return error;
  const { code, message, cause, detail } = error;
  if (error.constructor === VeripyError) return new VeripyError(code, message, { cause, detail, started });
  return Object.assign(error, { started });
}
