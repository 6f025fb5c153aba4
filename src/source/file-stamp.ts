import { stat } from "node:fs/promises";
import { isSystemError, messageOf } from "../base/errors.ts";

/** What is at a path, symbolic links followed, without reading it. */
export interface Stamp {
  readonly kind: "file" | "directory" | "other" | "absent" | "unreadable";
  /** Differs when the thing was replaced or written to; equal stamps alone don't prove equal bytes. */
  readonly mark: string;
  /**
   * When it last changed by the file system's clock, 0 for what is absent. It is the ctime: every write moves it,
   * and unlike the mtime nobody can set it back.
   */
  readonly changedMs: number;
}

const absent: Stamp = { kind: "absent", mark: "absent", changedMs: 0 };

/** Never rejects: a loop of links, for example, is `unreadable`. */
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
 * File systems keep time in steps, up to two seconds on some: a file written twice within a step has one stamp
 * for two contents. So an equal stamp counts as unchanged only when it was older than this when it was read.
 */
export const stampTrustMs = 2_000;
