import { type Started, VeripyError } from "../base/errors.ts";

/**
 * Whether a call that the server answered with an error has run. A server that knows says so in `started`. Older servers
 * don't, but they use the codes in `refusals` only before a call begins; their `shutting_down` may also end a running one.
 */
export function startedOf(error: VeripyError, hasBegun: boolean): Started {
  if (hasBegun) return isFinal(error) ? undefined : "unknown";
  if (error.started === false || refusals.has(error.code)) return false;
  return isFinal(error) ? undefined : "unknown";
}

/** A call was not sent, because there was no connection. */
export class NotSentError extends VeripyError {
  constructor({ code, message, cause, detail }: VeripyError) {
    super(code, message, { cause, detail, started: false });
    this.name = "NotSentError";
  }
}

const refusals = new Set(["bad_request", "not_found", "version_mismatch", "forbidden", "busy"]);

/** Whether the code alone says that the module ran, and how that ended. */
function isFinal({ code }: VeripyError): boolean {
  return code === "exec_failed" || code === "too_large";
}

/** The error with this `started`: a copy, because several calls that waited for a connection share one error. */
export function withStarted(error: VeripyError, started: Started): VeripyError {
  if (error.started === started) return error;
  const { code, message, cause, detail } = error;
  if (error.constructor === VeripyError) return new VeripyError(code, message, { cause, detail, started });
  return Object.assign(error, { started });
}
