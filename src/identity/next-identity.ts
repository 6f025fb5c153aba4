import { chown, copyFile, link, rename, stat, unlink } from "node:fs/promises";
import { isSystemError } from "../base/errors.ts";
import { flushDirectory, isThere } from "../base/files.ts";
import { type Identity, identityFiles, loadIdentity, loadOrCreateIdentity, type Role } from "./identity.ts";
import { identityError } from "./identity-error.ts";

/**
 * Prepares the next key: `<role>.key.next` and `<role>.crt.next`. If `created` is false they already existed, so a
 * rotation is under way. Throws `bad_identity` when there is no current key, or the files can't be written.
 */
export async function prepareNextIdentity(
  dir: string,
  role: Role,
): Promise<{ current: Identity; next: Identity; created: boolean }> {
  const current = await loadIdentity(dir, role);
  try {
    await finishInterruptedSwap(dir, role, current);
    const { identity: next, created } = await loadOrCreateIdentity(dir, role, ".next");
    await giveToOwner(dir, role);
    return { current, next, created };
  } catch (error) {
    throw identityError(`Cannot make a new key in ${dir}`, error);
  }
}

/** The next identity; undefined when no rotation is under way. */
export async function loadNextIdentity(dir: string, role: Role): Promise<Identity | undefined> {
  const { key, certificate } = identityFiles(dir, role, ".next");
  // Only the certificate: an interrupted swap. Only the key: a preparation in progress.
  if (!(await isThere(key)) || !(await isThere(certificate))) return undefined;
  return loadIdentity(dir, role, ".next");
}

/**
 * Replaces the current identity by the next one. The current one is kept as `<role>.key.old` and `<role>.crt.old`. If
 * this is interrupted, `loadIdentity` still finds one complete identity, and calling this again finishes the swap.
 * Throws `bad_identity` when there is no next identity.
 */
export async function swapIdentity(dir: string, role: Role): Promise<Identity> {
  const current = await loadIdentity(dir, role);
  try {
    if (await finishInterruptedSwap(dir, role, current)) return current;
    const [now, next, old] = [
      identityFiles(dir, role),
      identityFiles(dir, role, ".next"),
      identityFiles(dir, role, ".old"),
    ];
    // Load it first: an unusable identity must not replace a usable one.
    const identity = await loadIdentity(dir, role, ".next");
    await keepAs(now.key, old.key);
    await keepAs(now.certificate, old.certificate);
    await rename(next.key, now.key);
    await rename(next.certificate, now.certificate);
    await flushDirectory(dir);
    return identity;
  } catch (error) {
    throw identityError(`Cannot put the ${role}'s next key in place in ${dir}`, error);
  }
}

/**
 * Finishes an interrupted swap and returns the identity that is now current; undefined when there was nothing to finish.
 */
export async function resumeSwap(dir: string, role: Role): Promise<Identity | undefined> {
  const current = await loadIdentity(dir, role);
  try {
    return (await finishInterruptedSwap(dir, role, current)) ? current : undefined;
  } catch (error) {
    throw identityError(`Cannot put the ${role}'s next key in place in ${dir}`, error);
  }
}

/** True when there was one: the new key was already in place, and now its certificate is too. */
async function finishInterruptedSwap(dir: string, role: Role, current: Identity): Promise<boolean> {
  const next = identityFiles(dir, role, ".next");
  if ((await isThere(next.key)) || !(await isThere(next.certificate))) return false;
  const pem = await Bun.file(next.certificate).text();
  // If its key was removed by hand, the certificate is of no use.
  if (pem !== current.certificatePem) await unlink(next.certificate);
  else await rename(next.certificate, identityFiles(dir, role).certificate);
  return pem === current.certificatePem;
}

/** Root may rotate the key of a server that runs as another user, who must be able to read it. */
async function giveToOwner(dir: string, role: Role): Promise<void> {
  const [now, next] = [identityFiles(dir, role), identityFiles(dir, role, ".next")];
  const { uid, gid } = await stat(now.key);
  for (const path of [next.key, next.certificate]) {
    const made = await stat(path);
    if (made.uid !== uid || made.gid !== gid) await chown(path, uid, gid).catch(() => {});
  }
}

/** Gives the file a second name, so that the first one is never missing. */
async function keepAs(path: string, kept: string): Promise<void> {
  await unlink(kept).catch((error) => {
    if (!isSystemError(error, "ENOENT")) throw error;
  });
  await link(path, kept).catch(async (error) => {
    if (!isSystemError(error, "EPERM", "ENOTSUP", "ENOSYS")) throw error;
    await copyFile(path, kept);
  });
}
