import { type FileHandle, open, readFile, unlink } from "node:fs/promises";
import { isSystemError, VeripyError } from "../base/errors.ts";

const retryMs = 20;

/**
 * Runs `edit` while holding `<path>.lock`, so that two commands that edit one file do so one after the other.
 * Waits for the other up to `waitMs`, then throws `bad_config`. The lock is a file that only one can create; one
 * that a killed process left behind is named in the error, to be removed by whoever knows that nobody edits.
 */
export async function withFileLock<T>(path: string, edit: () => Promise<T>, waitMs = 5_000): Promise<T> {
  const lock = `${path}.lock`;
  const file = await acquire(lock, performance.now() + waitMs);
  try {
    await file.writeFile(`${process.pid}\n`);
    return await edit();
  } finally {
    await file.close();
    await unlink(lock);
  }
}

async function acquire(lock: string, giveUpAt: number): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(lock, "wx", 0o644);
    } catch (error) {
      if (!isSystemError(error, "EEXIST")) throw error;
      if (performance.now() >= giveUpAt) throw await lockedError(lock, error);
      await Bun.sleep(retryMs);
    }
  }
}

async function lockedError(lock: string, cause: unknown): Promise<VeripyError> {
  const holder = await readFile(lock, "latin1").catch(() => "");
  const who = /^\d+\s*$/.test(holder) ? `process ${holder.trim()}` : "another process";
  return new VeripyError(
    "bad_config",
    `Cannot edit the file: ${who} holds ${lock}. If it does not run any more, remove that file.`,
    { cause },
  );
}
