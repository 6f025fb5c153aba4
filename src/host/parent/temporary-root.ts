import { chmod, lstat, mkdtemp, opendir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryLock } from "../../base/file-lock.ts";
import { removeTree } from "./remove-tree.ts";

const prefix = "veripy-";
const rootName = /^veripy-\w{6}$/;
const lockName = "lock";
/** How many folders are removed at a start, and how many names are looked at to find them. */
const maxRemoved = 100;
const maxLooks = 10_000;

/**
 * The folder `veripy-XXXXXX` that holds the temporary folders of a server's modules. Its file `lock` is locked while the
 * server lives. However that ends, the next server then sees that the folder was left.
 */
export class TemporaryRoot {
  readonly path: string;
  /** To be called when the folder has been removed. Never rejects. */
  readonly release: () => Promise<void>;

  private constructor(path: string, release: () => Promise<void>) {
    this.path = path;
    this.release = () => release().catch(() => {});
  }

  /** Makes one in the folder `base`. Throws as `mkdtemp` does. */
  static async make(base: string): Promise<TemporaryRoot> {
    for (;;) {
      const path = await mkdtemp(join(base, prefix));
      // Modules may run as another user. Others can enter it, but neither list it nor enter what is in it.
      await chmod(path, 0o711);
      const release = await tryLock(join(path, lockName));
      if (release !== undefined) return new TemporaryRoot(path, release);
      // A server that starts just now has locked it first, and removes it.
    }
  }
}

/**
 * Removes the folders that servers of this user left because they were killed. Those of running servers are locked, and a
 * folder without a lock file is none of them. What can't be removed stays. Throws when the temporary folder can't be listed.
 */
export async function removeLeftRoots(): Promise<void> {
  const base = tmpdir();
  let looks = 0;
  let removed = 0;
  for await (const { name } of await opendir(base)) {
    if (++looks > maxLooks || removed >= maxRemoved) return;
    if (rootName.test(name) && (await removeIfLeft(join(base, name)))) removed += 1;
  }
}

async function removeIfLeft(path: string): Promise<boolean> {
  try {
    const lock = join(path, lockName);
    const [folder, file] = [await lstat(path), await lstat(lock)];
    if (!folder.isDirectory() || !file.isFile() || !isOwn(folder.uid) || !isOwn(file.uid)) return false;
    const release = await tryLock(lock);
    if (release === undefined) return false;
    await removeTree(path).finally(() => release().catch(() => {}));
    return true;
  } catch {
    return false;
  }
}

/** Windows has no such numbers; there the temporary folder itself is the user's. */
function isOwn(uid: number): boolean {
  return process.getuid === undefined || process.getuid() === uid;
}
