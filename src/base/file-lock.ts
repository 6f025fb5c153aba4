import { constants } from "node:fs";
import { type FileHandle, open, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { isSystemError, VeripyError } from "./errors.ts";
import { openLibc } from "./libc.ts";
import { lockHolder, tryPidLock } from "./pid-lock.ts";

type Release = () => Promise<void>;

const retryMs = 20;

/**
 * Runs `edit` while holding the lock `<path>.lock`, so that programs that edit one file do so one after the other, and
 * edits of one program in the order in which they were asked for. Waits for another program up to `waitMs`, then throws
 * `bad_config` with its process ID.
 *
 * The lock is a `flock(2)`, which the kernel releases when its holder ends, even by `kill -9`. A lock file that is left
 * behind does no harm.
 */
export function withFileLock<T>(path: string, edit: () => Promise<T>, waitMs = 5_000): Promise<T> {
  const giveUpAt = performance.now() + waitMs;
  return inTurn(path, async () => {
    const release = await acquire(`${path}.lock`, giveUpAt);
    try {
      return await edit();
    } finally {
      await release();
    }
  });
}

/** The last edit of each path that this process has been asked for and has not finished. */
const lastEdits = new Map<string, Promise<unknown>>();

async function inTurn<T>(path: string, edit: () => Promise<T>): Promise<T> {
  const own = (lastEdits.get(path) ?? Promise.resolve()).then(edit, edit);
  lastEdits.set(path, own);
  try {
    return await own;
  } finally {
    if (lastEdits.get(path) === own) lastEdits.delete(path);
  }
}

async function acquire(lock: string, giveUpAt: number): Promise<Release> {
  for (;;) {
    const release = await (flock() === undefined ? tryPidLock(lock) : tryFlock(lock));
    if (release !== undefined) return release;
    if (performance.now() >= giveUpAt) throw await lockedError(lock);
    await Bun.sleep(retryMs);
  }
}

/** Undefined while another process has the lock. */
async function tryFlock(lock: string): Promise<Release | undefined> {
  const file = await openLock(lock);
  if (flock()?.(file.fd, LOCK_EX | LOCK_NB) !== 0 || !(await isStillAt(lock, file))) {
    await file.close();
    return undefined;
  }
  // For the message to those that wait in vain.
  await file.truncate();
  await file.write(`${process.pid}\n`, 0);
  return async () => {
    // While the lock is held: afterwards it would be another process's file.
    await unlink(lock).catch(() => {});
    await file.close();
  };
}

/**
 * Only its owner can open the lock file; otherwise any user could hold the lock. What root makes is given to the owner
 * of the folder, who could not lock it if root's process were killed.
 */
async function openLock(lock: string): Promise<FileHandle> {
  const file = await open(
    lock,
    constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    0o600,
  );
  if (process.getuid?.() === 0) {
    const { uid, gid } = await stat(dirname(lock));
    await file.chown(uid, gid).catch(() => {});
  }
  return file;
}

/** False when the process that had the lock before has removed the file between our opening and locking it. */
async function isStillAt(lock: string, file: FileHandle): Promise<boolean> {
  try {
    const [named, locked] = [await stat(lock), await file.stat()];
    return named.ino === locked.ino && named.dev === locked.dev;
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return false;
    throw error;
  }
}

async function lockedError(lock: string): Promise<VeripyError> {
  const pid = await lockHolder(lock);
  const why =
    pid === undefined
      ? `${lock} cannot be locked; perhaps its file system has no locks`
      : `process ${pid} holds ${lock}. Run this again when it has ended`;
  return new VeripyError("bad_config", `Cannot edit the file: ${why}.`);
}

/** `flock(2)`: the same numbers on Linux and macOS. */
const LOCK_EX = 2;
const LOCK_NB = 4;
let opened: { flock: ((fd: number, operation: number) => number) | undefined } | undefined;

/** Undefined where there is none, as on Windows. */
function flock(): ((fd: number, operation: number) => number) | undefined {
  opened ??= { flock: openLibc({ flock: { args: ["i32", "i32"], returns: "i32" } })?.symbols.flock };
  return opened.flock;
}
