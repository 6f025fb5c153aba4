import { constants } from "node:fs";
import { chmod, chown, mkdtemp, open, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { loggerOf } from "../../base/log.ts";

const log = loggerOf("module");

const removals = new Set<Promise<void>>();

/** Makes a folder that only `owner`, by default this process's user, may use. Throws as `mkdtemp` does. */
export async function makeTemporaryFolder(owner?: {
  readonly uid: number;
  readonly gid: number;
}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "veripy-"));
  try {
    if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
  } catch (error) {
    removeTemporaryFolder(folder);
    throw error;
  }
  return folder;
}

/** Removes the folder and everything in it. Returns at once; see `temporaryFoldersRemoved`. */
export function removeTemporaryFolder(folder: string): void {
  const removal = remove(folder).finally(() => removals.delete(removal));
  removals.add(removal);
}

/** Resolves when every folder that was to be removed is gone, or could not be removed. Never rejects. */
export async function temporaryFoldersRemoved(): Promise<void> {
  await Promise.all(removals);
}

async function remove(folder: string): Promise<void> {
  try {
    await rm(folder, { recursive: true, force: true }).catch(async () => {
      // A module can make folders that not even their owner may read.
      await openFolders(folder);
      await rm(folder, { recursive: true, force: true });
    });
  } catch (error) {
    log.warn("Cannot remove the temporary folder {folder} of a module: {error}.", {
      folder,
      error: messageOf(error),
    });
  }
}

// Node does not name it.
const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW } = constants;
const maxDepth = 64;

/**
 * By descriptors, not by paths: a program that outlived its module may put a link in a folder's place meanwhile, to
 * have the mode of another file changed.
 */
async function openFolders(folder: string, depth = 0): Promise<void> {
  if (process.platform !== "linux" || depth > maxDepth) return;
  const handle = await open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  try {
    const opened = `/proc/self/fd/${handle.fd}`;
    await chmod(opened, 0o700);
    for (const entry of await readdir(opened, { withFileTypes: true })) {
      if (entry.isDirectory()) await openFolders(`${opened}/${entry.name}`, depth + 1);
    }
  } finally {
    await handle.close();
  }
}
