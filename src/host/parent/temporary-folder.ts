import { chown, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isSystemError, messageOf } from "../../base/errors.ts";
import { loggerOf } from "../../base/log.ts";
import { removeTree } from "./remove-tree.ts";
import { removeLeftRoots, TemporaryRoot } from "./temporary-root.ts";

const log = loggerOf("module");

/** By the system's temporary folder: the one that this process made there. */
const roots = new Map<string, Promise<TemporaryRoot>>();
/** Folders that were made, or are being made, and are not removed yet. */
let inUse = 0;
const removals = new Set<Promise<void>>();

/** Makes a folder that only `owner`, by default this process's user, may use. Throws as `mkdtemp` does. */
export async function makeTemporaryFolder(owner?: {
  readonly uid: number;
  readonly gid: number;
}): Promise<string> {
  inUse += 1;
  const folder = await makeInRoot().catch(async (error) => {
    await forgetOne();
    throw error;
  });
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
  inBackground(remove(folder).then(forgetOne));
}

/** Removes what earlier servers have left, see `removeLeftRoots`. Returns at once. */
export function removeLeftFolders(): void {
  inBackground(
    removeLeftRoots().catch((error) =>
      log.warn("Cannot look for temporary folders that were left: {error}.", { error: messageOf(error) }),
    ),
  );
}

/** Resolves when every folder that was to be removed is gone, or could not be removed. Never rejects. */
export async function temporaryFoldersRemoved(): Promise<void> {
  await Promise.all(removals);
}

async function makeInRoot(isRetry = false): Promise<string> {
  const base = tmpdir();
  const root = roots.get(base) ?? TemporaryRoot.make(base);
  roots.set(base, root);
  try {
    return await mkdtemp(join((await root).path, "m-"));
  } catch (error) {
    if (roots.get(base) === root) {
      roots.delete(base);
      root.then(({ release }) => release()).catch(() => {});
    }
    // Something that cleans up the system's temporary folder has removed it.
    if (!isRetry && isSystemError(error, "ENOENT")) return makeInRoot(true);
    throw error;
  }
}

/** The last folder takes with it those that it was in. */
async function forgetOne(): Promise<void> {
  inUse -= 1;
  if (inUse > 0) return;
  const unused = [...roots.values()];
  roots.clear();
  for (const root of unused)
    await root.then(
      ({ path, release }) => remove(path).finally(release),
      () => {},
    );
}

async function remove(folder: string): Promise<void> {
  try {
    await removeTree(folder);
  } catch (error) {
    log.warn("Cannot remove the temporary folder {folder} of a module: {error}.", {
      folder,
      error: messageOf(error),
    });
  }
}

function inBackground(work: Promise<void>): void {
  const removal = work.finally(() => removals.delete(removal));
  removals.add(removal);
}
