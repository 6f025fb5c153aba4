import { open, readFile, stat, unlink } from "node:fs/promises";
import { isSystemError } from "./errors.ts";

/** A process that makes a lock file writes its ID at once; one that breaks a lock is done at once. */
const patienceMs = 5_000;

/**
 * Where there is no `flock(2)`: a lock file that only one process can make, and that names it. A lock whose process is
 * gone is removed. Gives what releases the lock; undefined while another process has it. A process ID that the system
 * has given to another process meanwhile counts as alive, so the lock may have to be deleted by hand.
 */
export async function tryPidLock(path: string): Promise<(() => Promise<void>) | undefined> {
  await removeAbandoned(path);
  try {
    const file = await open(path, "wx", 0o600);
    await file.writeFile(`${process.pid}\n`);
    await file.close();
  } catch (error) {
    if (isSystemError(error, "EEXIST")) return undefined;
    throw error;
  }
  return () => unlink(path);
}

/** The process that a lock file names; undefined when it names none. */
export async function lockHolder(path: string): Promise<number | undefined> {
  const text = await readFile(path, "latin1").catch(() => "");
  return /^\d{1,10}\s*$/.test(text) ? Number(text) : undefined;
}

/** One process at a time does this. Without that, the second would remove the lock that the first has made since. */
async function removeAbandoned(path: string): Promise<void> {
  if (!(await isAbandoned(path))) return;
  const guard = `${path}.break`;
  try {
    await (await open(guard, "wx", 0o600)).close();
  } catch (error) {
    if (!isSystemError(error, "EEXIST")) throw error;
    if (await isOlder(guard, patienceMs)) await unlink(guard).catch(() => {});
    return;
  }
  try {
    if (await isAbandoned(path)) await unlink(path);
  } finally {
    await unlink(guard);
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  const pid = await lockHolder(path);
  return pid === undefined ? isOlder(path, patienceMs) : !isAlive(pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is alive, and belongs to another user.
    return !isSystemError(error, "ESRCH");
  }
}

async function isOlder(path: string, ms: number): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  return status !== undefined && Date.now() - status.mtimeMs > ms;
}
