import { lstat, mkdir, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { emptyLock, formatLock, type Lock, parseLock } from "./lock.ts";

const maxFileBytes = 64 * 1024 * 1024;

/** Reads a `veripy.lock`; undefined when it does not exist. Throws `bad_config` when it can't be read or is invalid. */
export async function readLock(path: string): Promise<Lock | undefined> {
  let text: string | undefined;
  try {
    text = await readTextIfThere(path, maxFileBytes);
  } catch (error) {
    // That of a file which is too large, or none, has its path already.
    const message = error instanceof VeripyError ? error.message : `Cannot read ${path}: ${reasonOf(error)}.`;
    throw new VeripyError("bad_config", message, { cause: error });
  }
  if (text !== undefined) return parseLock(text, path);
  // A link to a lock that is missing says that there should be one.
  const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
  if (isLink) throw new VeripyError("bad_config", `Cannot read ${path}: it is a dangling symbolic link.`);
  return undefined;
}

/**
 * Replaces a `veripy.lock`, or leaves it unchanged. `edit` gets the file's current content and returns the next, so that of
 * two programs that edit it at once neither loses the other's change. Returns what was written; writes nothing when
 * `edit` returns its argument. Throws `bad_config`.
 */
export async function editLock(path: string, edit: (lock: Lock) => Lock): Promise<Lock> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const target = await targetOf(path);
    return await withFileLock(target, async () => {
      const before = (await readLock(path)) ?? emptyLock;
      const after = edit(before);
      if (after === before) return after;
      const text = formatLock(after);
      refuseUnreadable(text, path);
      await writeFileAtomic(target, text, await modeOf(target));
      return after;
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_config", `Cannot write ${path}: ${reasonOf(error)}. It is unchanged.`, {
      cause: error,
    });
  }
}

/** A server can describe a module in ways that a lock has no room for; one approval must not make all the others unreadable. */
function refuseUnreadable(text: string, path: string): void {
  try {
    if (Buffer.byteLength(text) > maxFileBytes)
      throw new Error(`it would have more than ${maxFileBytes} bytes`);
    parseLock(text, "its new content");
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot write ${path}: ${reasonOf(error)}. It is unchanged.`, {
      cause: error,
    });
  }
}

/** A symbolic link is kept: its target is replaced. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return path;
    throw error;
  }
}

/** That of the file, without write access for every user. */
async function modeOf(path: string): Promise<number> {
  const status = await stat(path).catch(() => undefined);
  return status === undefined ? 0o644 : status.mode & 0o775;
}
