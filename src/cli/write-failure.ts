import { reasonOf } from "../index.ts";

/** Output could not be written, for example because a disk is full or a folder is missing. Not a bug in this program. */
export class WriteFailure extends Error {
  /** The reader has stopped reading, as `head` does. */
  readonly isBrokenPipe: boolean;

  /** `where` is a standard stream or the name of a file. */
  constructor(where: string, cause: unknown) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    // Only the folder can be missing, because the file is created.
    const reason = code === "ENOENT" ? "there is no such folder" : reasonOf(cause);
    super(`Cannot write to ${where}: ${reason}.`, { cause });
    this.name = "WriteFailure";
    this.isBrokenPipe = code === "EPIPE";
  }
}
