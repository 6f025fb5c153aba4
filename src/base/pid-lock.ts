import { open, readFile, stat, unlink } from "node:fs/promises";
import { isSystemError } from "./errors.ts";

/** Writing a process ID or breaking a lock takes far less than this. */
const patienceMs = 5_000;

/**
 * A lock for systems without `flock(2)`: a file that only one process can create and that contains its ID. The lock of a
 * dead process is removed. Returns a function that releases the lock; undefined while another process holds it. If the
 * system has reused the ID, the lock looks held and must be deleted by hand.
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

/** The process ID in a lock file; undefined when there is none. */
export async function lockHolder(path: string): Promise<number | undefined> {
  const text = await readFile(path, "latin1").catch(() => "");
  return /^\d{1,10}\s*$/.test(text) ? Number(text) : undefined;
}

/** One process at a time: otherwise a second one could remove the lock that the first has just created. */
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
    // EPERM means that it is alive and belongs to another user.
    return !isSystemError(error, "ESRCH");
  }
}

async function isOlder(path: string, ms: number): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  return status !== undefined && Date.now() - status.mtimeMs > ms;
}
