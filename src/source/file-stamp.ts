import { stat } from "node:fs/promises";
import { isSystemError, messageOf } from "../base/errors.ts";

/** What stands at a path, found by `stat`: symbolic links are followed and nothing is read. */
export interface Stamp {
  readonly kind: "file" | "directory" | "other" | "absent" | "unreadable";
  /** Changes when the file is replaced or written to. Equal marks alone don't prove equal bytes, see `stampTrustMs`. */
  readonly mark: string;
  /**
   * When it last changed by the file system's clock; 0 if absent. This is the ctime: every write moves it, and unlike
   * the mtime it can't be set back.
   */
  readonly changedMs: number;
}

const absent: Stamp = { kind: "absent", mark: "absent", changedMs: 0 };

/** Never rejects: a loop of symbolic links, for example, is `unreadable`. */
export async function stampOf(path: string): Promise<Stamp> {
  try {
    const status = await stat(path, { bigint: true });
    return {
      kind: status.isFile() ? "file" : status.isDirectory() ? "directory" : "other",
      mark: [status.dev, status.ino, status.size, status.mtimeNs, status.ctimeNs].join(":"),
      changedMs: Number(status.ctimeMs),
    };
  } catch (error) {
    if (isSystemError(error, "ENOENT", "ENOTDIR")) return absent;
    return { kind: "unreadable", mark: messageOf(error), changedMs: 0 };
  }
}

/**
 * Some file systems keep time in steps of up to two seconds, so a file written twice within a step has the same stamp
 * for two contents. An equal stamp therefore means "unchanged" only if the change was older than this when it was read.
 */
export const stampTrustMs = 2_000;
