import { statSync } from "node:fs";
import { isSystemError, messageOf } from "./errors.ts";

/** What is at a path, without reading it. Symbolic links are followed. */
export interface FileStamp {
  readonly kind: "file" | "directory" | "other" | "absent" | "unreadable";
  /** Changes when the file is replaced or written to. Equal marks alone don't prove equal bytes: see `isSettled`. */
  readonly mark: string;
  /**
   * The ctime in milliseconds by the file system's clock, or 0 where there is none. Every write moves it and, unlike
   * the mtime, it cannot be set back.
   */
  readonly changedMs: number;
}

/**
 * Never throws: a loop of links, for example, is `unreadable`. Synchronous, because handing a `stat` to another thread costs
 * several times as much as the call itself takes.
 */
export function stampOf(path: string): FileStamp {
  try {
    const status = statSync(path, { bigint: true });
    return {
      kind: status.isFile() ? "file" : status.isDirectory() ? "directory" : "other",
      mark: [status.dev, status.ino, status.size, status.mtimeNs, status.ctimeNs].join(":"),
      changedMs: Number(status.ctimeMs),
    };
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return { kind: "absent", mark: "absent", changedMs: 0 };
    return { kind: "unreadable", mark: messageOf(error), changedMs: 0 };
  }
}

/** The coarsest clock of a file system: FAT keeps time in steps of two seconds. */
const clockStepMs = 2_000;

/**
 * Whether an equal mark, seen later, means that nothing has changed since `nowMs`. It does not for a file that changed
 * just before: two writes within one step of the file system's clock can leave the same mark.
 */
export function isSettled({ changedMs }: FileStamp, nowMs: number): boolean {
  return changedMs < nowMs - clockStepMs;
}
