import { messageOf, systemReasonOf } from "../index.ts";

/** Something could not be written: a full disk, a folder that is not there. Not a fault of this program. */
export class WriteFailure extends Error {
  /** The reader has seen enough, as `head` does. */
  readonly isBrokenPipe: boolean;

  /** `where`: a standard stream, or the name of a file. */
  constructor(where: string, cause: unknown) {
    super(`Cannot write to ${where}: ${systemReasonOf(cause) ?? messageOf(cause)}.`, { cause });
    this.name = "WriteFailure";
    this.isBrokenPipe = cause instanceof Error && "code" in cause && cause.code === "EPIPE";
  }
}
