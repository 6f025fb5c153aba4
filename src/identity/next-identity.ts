import { chown, copyFile, link, rename, stat, unlink } from "node:fs/promises";
import { isSystemError } from "../base/errors.ts";
import { flushDirectory, isThere } from "../base/files.ts";
import { type Identity, identityFiles, loadIdentity, loadOrCreateIdentity, type Role } from "./identity.ts";
import { identityError } from "./identity-error.ts";

/**
 * Prepares the key that is to follow the one in use: `<role>.key.next` and `<role>.crt.next`. With `created` false
 * they were there already, which means that a rotation is under way. Throws `bad_identity` when there is no key in
 * use, or the files cannot be written.
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

/** The identity that is to follow the one in use; undefined when no rotation is under way. */
export async function loadNextIdentity(dir: string, role: Role): Promise<Identity | undefined> {
  const { key, certificate } = identityFiles(dir, role, ".next");
  // The certificate alone is what an interrupted swap has left; the key alone, a preparation that goes on.
  if (!(await isThere(key)) || !(await isThere(certificate))) return undefined;
  return loadIdentity(dir, role, ".next");
}

/**
 * Puts the next identity in the place of the one in use, which is kept as `<role>.key.old` and `<role>.crt.old`.
 * At whatever point this is stopped, `loadIdentity` finds one of the two, whole; doing it again finishes it. Throws
 * `bad_identity` when there is no next one.
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
    // Read first: what cannot be loaded must not take the place of what can.
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
 * Finishes a swap that was stopped half-way and gives the identity that it has put in place; undefined when there
 * was none.
 */
export async function resumeSwap(dir: string, role: Role): Promise<Identity | undefined> {
  const current = await loadIdentity(dir, role);
  try {
    return (await finishInterruptedSwap(dir, role, current)) ? current : undefined;
  } catch (error) {
    throw identityError(`Cannot put the ${role}'s next key in place in ${dir}`, error);
  }
}

/** True when there was one: the new key had its place already, and its certificate now has too. */
async function finishInterruptedSwap(dir: string, role: Role, current: Identity): Promise<boolean> {
  const next = identityFiles(dir, role, ".next");
  if ((await isThere(next.key)) || !(await isThere(next.certificate))) return false;
  const pem = await Bun.file(next.certificate).text();
  // Nobody's certificate any more: its key was taken away by hand.
  if (pem !== current.certificatePem) await unlink(next.certificate);
  else await rename(next.certificate, identityFiles(dir, role).certificate);
  return pem === current.certificatePem;
}

/** The administrator may rotate the key of a server that runs as somebody else, who has to read it. */
async function giveToOwner(dir: string, role: Role): Promise<void> {
  const [now, next] = [identityFiles(dir, role), identityFiles(dir, role, ".next")];
  const { uid, gid } = await stat(now.key);
  for (const path of [next.key, next.certificate]) {
    const made = await stat(path);
    if (made.uid !== uid || made.gid !== gid) await chown(path, uid, gid).catch(() => {});
  }
}

/** A second name for the file, so that the first one is never missing. */
async function keepAs(path: string, kept: string): Promise<void> {
  await unlink(kept).catch((error) => {
    if (!isSystemError(error, "ENOENT")) throw error;
  });
  await link(path, kept).catch(async (error) => {
    if (!isSystemError(error, "EPERM", "ENOTSUP", "ENOSYS")) throw error;
    await copyFile(path, kept);
  });
}
