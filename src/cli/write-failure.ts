import { reasonOf } from "../index.ts";

/** Something could not be written: a full disk, a folder that is not there. Not a fault of this program. */
export class WriteFailure extends Error {
  /** The reader has seen enough, as `head` does. */
  readonly isBrokenPipe: boolean;

  /** `where`: a standard stream, or the name of a file. */
  constructor(where: string, cause: unknown) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    // Only the folder can be missing: the file is made.
    const reason = code === "ENOENT" ? "there is no such folder" : reasonOf(cause);
    super(`Cannot write to ${where}: ${reason}.`, { cause });
    this.name = "WriteFailure";
    this.isBrokenPipe = code === "EPIPE";
  }
}
