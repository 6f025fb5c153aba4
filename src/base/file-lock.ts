import { constants } from "node:fs";
import { type FileHandle, open, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { isSystemError, VeripyError } from "./errors.ts";
import { openLibc } from "./libc.ts";
import { lockHolder, tryPidLock } from "./pid-lock.ts";

type Release = () => Promise<void>;

const retryMs = 20;

/**
 * Runs `edit` while holding the lock `<path>.lock`, so that only one program at a time edits the file. Edits by the
 * same program run in the order in which they were requested. Waits up to `waitMs` for another program, then throws
 * `bad_config` with its process ID.
 *
 * The lock is a `flock(2)`, which the kernel releases when its holder ends, even by `kill -9`. A leftover lock file does
 * no harm.
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

/** This process's last requested edit of each path, while it is unfinished. */
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
    const release = await tryLock(lock);
    if (release !== undefined) return release;
    if (performance.now() >= giveUpAt) throw await lockedError(lock);
    await Bun.sleep(retryMs);
  }
}

/**
 * Makes the file `lock` and locks it until the function that is returned is called, which deletes it, or this process ends.
 * Undefined while it is locked.
 */
export function tryLock(lock: string): Promise<Release | undefined> {
  return flock() === undefined ? tryPidLock(lock) : tryFlock(lock);
}

async function tryFlock(lock: string): Promise<Release | undefined> {
  const file = await openLock(lock);
  if (flock()?.(file.fd, LOCK_EX | LOCK_NB) !== 0 || !(await isStillAt(lock, file))) {
    await file.close();
    return undefined;
  }
  // For the message of a process that waits too long. On a full disk there is none.
  await file
    .truncate()
    .then(() => file.write(`${process.pid}\n`, 0))
    .catch(() => {});
  return async () => {
    // While the lock is still held: later it could be another process's file.
    await unlink(lock).catch(() => {});
    await file.close();
  };
}

/**
 * The lock file is accessible to its owner only: otherwise any user could hold the lock. If root creates it, it goes to
 * the owner of the directory, who could not lock it otherwise if root's process were killed.
 */
async function openLock(lock: string): Promise<FileHandle> {
  const file = await open(
    lock,
    constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    0o600,
  );
  if (process.getuid?.() === 0) {
    await stat(dirname(lock))
      .then(({ uid, gid }) => file.chown(uid, gid))
      .catch(() => {});
  }
  return file;
}

/** False when the previous holder removed the file after we opened it and before we locked it. */
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
      ? `${lock} cannot be locked; its file system may not support locks`
      : `process ${pid} holds ${lock}. Run this again when that process has ended`;
  return new VeripyError("bad_config", `Cannot edit the file: ${why}.`);
}

/** From `flock(2)`. The numbers are the same on Linux and macOS. */
const LOCK_EX = 2;
const LOCK_NB = 4;
let opened: { flock: ((fd: number, operation: number) => number) | undefined } | undefined;

/** Undefined on systems without it, such as Windows. */
function flock(): ((fd: number, operation: number) => number) | undefined {
  opened ??= { flock: openLibc({ flock: { args: ["i32", "i32"], returns: "i32" } })?.symbols.flock };
  return opened.flock;
}
