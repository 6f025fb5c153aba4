import { messageOf, systemReasonOf } from "../index.ts";

/** Output could not be written, for example because a disk is full or a folder is missing. Not a bug in this program. */
export class WriteFailure extends Error {
  /** The reader has stopped reading, as `head` does. */
  readonly isBrokenPipe: boolean;

  /** `where` is a standard stream or the name of a file. */
  constructor(where: string, cause: unknown) {
    super(`Cannot write to ${where}: ${systemReasonOf(cause) ?? messageOf(cause)}.`, { cause });
    this.name = "WriteFailure";
    this.isBrokenPipe = cause instanceof Error && "code" in cause && cause.code === "EPIPE";
  }
}
