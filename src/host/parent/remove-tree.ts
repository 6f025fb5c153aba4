import { constants } from "node:fs";
import { chmod, open, readdir, rm } from "node:fs/promises";

/** Removes a folder that modules wrote to, and everything in it. Links are not followed. Throws as `rm` does. */
export async function removeTree(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(async () => {
    // A module can make folders that not even their owner may read.
    await openFolders(folder);
    await rm(folder, { recursive: true, force: true });
  });
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
