import { VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";

/** `bad_identity` with a reason, for a file that could not be used. An error that already has a message is returned as is. */
export function identityError(what: string, error: unknown): VeripyError {
  if (error instanceof VeripyError) return error;
  return new VeripyError("bad_identity", `${what}: ${reasonOf(error)}.`, { cause: error });
}
