import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { VeripyError } from "../base/errors.ts";
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
    throw new VeripyError("bad_config", `Cannot read ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  return text === undefined ? undefined : parseLock(text, path);
}

/**
 * Replaces a `veripy.lock`, or leaves it unchanged. `edit` gets the file's current content and returns the next, so that of
 * two programs that edit it at once neither loses the other's change. Returns what was written; writes nothing when
 * `edit` returns its argument. Throws `bad_config`.
 */
export async function editLock(path: string, edit: (lock: Lock) => Lock): Promise<Lock> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return await withFileLock(path, async () => {
      const before = (await readLock(path)) ?? emptyLock;
      const after = edit(before);
      if (after === before) return after;
      const text = formatLock(after);
      // What can't be read back is not written: a note that is too long, for example.
      parseLock(text, path);
      await writeFileAtomic(path, text);
      return after;
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_config", `Cannot write ${path}: ${reasonOf(error)}. It is unchanged.`, {
      cause: error,
    });
  }
}
