import type { Stats } from "node:fs";
import { chown, realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { isWorldWritable, worldWritable } from "../base/file-modes.ts";
import { isThere, writeFileAtomic } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { type Fingerprint, isFingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { findEntry, refuseTakenName, unknownEntry } from "./find-entry.ts";
import type { Grant, TrustedKeyFields } from "./grant.ts";
import { checkFields } from "./key-fields.ts";
import { readRevokedKeys, revokedKeysPath, revokeKeys } from "./revoked-keys.ts";
import {
  emptyTrustFile,
  parseTrustedKeys,
  parseTrustList,
  readTrustedKeysText,
  type TrustedKeys,
} from "./trust-file.ts";
import { withEntry, withFields, withoutEntry } from "./trust-file-text.ts";

export type { TrustedKeyFields } from "./grant.ts";

/** Changes to an entry: a new value for a field, or null to remove it. */
export type TrustedKeyChanges = { [Field in keyof TrustedKeyFields]?: TrustedKeyFields[Field] | null };

export interface TrustFileEdit {
  /** False when the file already said so. */
  readonly changed: boolean;
  /** Something else that the operator should know. */
  readonly warning?: string;
}

/**
 * Trusts a key: appends an entry, and leaves the rest of the file unchanged, byte for byte. `changed` is false when the
 * key already has an entry with these fields. A missing file is created. Writes nothing and throws `bad_config` when the
 * key has an entry with other fields or is the next key of another entry, for invalid fields, for a name that another
 * key has, and for a file that is already invalid.
 */
export function addTrustedKey(
  path: string,
  fingerprint: Fingerprint,
  fields: TrustedKeyFields = {},
): Promise<TrustFileEdit> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return edit(path, { ifMissing: emptyTrustFile }, (text, file) => {
    if (hasEntry(text, file, fingerprint, given)) return text;
    return withEntry(text, file, entryText(fingerprint, Object.fromEntries(given)));
  });
}

/** Throws `bad_config` when the key has an entry with other values than the given ones. */
function hasEntry(
  text: string,
  file: string,
  fingerprint: Fingerprint,
  fields: readonly [name: string, value: unknown][],
): boolean {
  const keys = parseTrustedKeys(text, file);
  const grant = keys.lookup(fingerprint);
  if (grant === undefined) return false;
  refuseNextKey(keys, grant, fingerprint, file);
  const had = fieldsOf(text, file, keys.indexOf(grant));
  const others = fields.filter(([name, value]) => !isDeepStrictEqual(had[name], value)).map(([name]) => name);
  if (others.length === 0) return true;
  throw new VeripyError(
    "bad_config",
    `Cannot add ${fingerprint}: ${file}: ${keys.describe(grant)} already has this key, with another value for ${others.join(", ")}. ` +
      "Edit that entry, or remove it with 'veripy-server untrust' first.",
  );
}

/**
 * Trusts a key, or changes its entry: the given fields replace those of the entry. The rest of the file is unchanged,
 * byte for byte. Returns a warning when the key is still refused because its entry has expired. Writes nothing and
 * throws `bad_config` for invalid fields, a name that another key has, and a key that is the next key of another entry,
 * or `bad_identity` when the file does not exist.
 */
export async function trustKey(
  path: string,
  fingerprint: Fingerprint,
  changes: TrustedKeyChanges = {},
): Promise<TrustFileEdit & { readonly added: boolean }> {
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  const fields = Object.fromEntries(given.filter(([, value]) => value !== null)) as TrustedKeyFields;
  checkFields(fields);
  await refuseRevoked(path, fingerprint);
  let added = false;
  let expires: unknown;
  const edited = await edit(path, {}, (text, file) => {
    const keys = parseTrustedKeys(text, file);
    refuseTakenName(keys, fields.name, "Cannot trust a key under the name", fingerprint);
    const grant = keys.lookup(fingerprint);
    added = grant === undefined;
    if (grant === undefined) {
      expires = fields.expires;
      return withEntry(text, file, entryText(fingerprint, fields));
    }
    refuseNextKey(keys, grant, fingerprint, file);
    const index = keys.indexOf(grant);
    const had = fieldsOf(text, file, index);
    const different = given
      .map(([name, value]) => [name, value ?? undefined])
      .filter(([name, value]) => !isDeepStrictEqual(had[name as string], value));
    expires = { ...had, ...Object.fromEntries(different) }.expires;
    return different.length === 0 ? text : withFields(text, file, index, Object.fromEntries(different));
  });
  return { ...edited, added, ...expiredWarning(fingerprint, expires) };
}

/** Its entry would count for nothing. */
async function refuseRevoked(path: string, fingerprint: Fingerprint): Promise<void> {
  if (!(await readRevokedKeys(path))?.has(fingerprint)) return;
  throw new VeripyError(
    "bad_config",
    `Cannot trust ${fingerprint}: ${revokedKeysPath(path)} revokes it. To trust it all the same, remove it there first.`,
  );
}

function expiredWarning(fingerprint: Fingerprint, expires: unknown): { warning?: string } {
  if (typeof expires !== "string" || Date.parse(expires) > Date.now()) return {};
  return {
    warning:
      `The entry of ${fingerprint} has expired (${expires}), so this key is still refused. ` +
      `To renew it: veripy-server trust ${fingerprint} --expires 30d`,
  };
}

function refuseNextKey(keys: TrustedKeys, grant: Grant, fingerprint: Fingerprint, file: string): void {
  if (grant.next !== fingerprint) return;
  throw new VeripyError(
    "bad_config",
    `Cannot trust ${fingerprint}: ${file}: it is the next key of ${keys.describe(grant)}. Remove that entry first: ` +
      `veripy-server untrust ${grant.fingerprint}`,
  );
}

/** An entry as written in the file. */
function fieldsOf(text: string, file: string, index: number): Record<string, unknown> {
  const entry = parseTrustList(text, file).entries[index];
  return typeof entry === "object" ? { ...entry } : {};
}

/** A key without fields is written as its fingerprint alone. */
function entryText(fingerprint: Fingerprint, fields: TrustedKeyFields): string {
  return JSON.stringify(Object.keys(fields).length === 0 ? fingerprint : { fingerprint, ...fields });
}

/**
 * Removes the entry with that key, next key or name. The rest of the file is unchanged, byte for byte. `changed` is false
 * when there is none; with `mustBeThere` this throws `bad_config` instead, and lists similar entries.
 *
 * A revocation must not fail, so this edits a world-writable file too. It makes the file private to its group, because a
 * running server would not read it otherwise, and returns a warning.
 */
export function removeTrustedKey(
  path: string,
  fingerprintOrName: string,
  { mustBeThere = false }: { mustBeThere?: boolean } = {},
): Promise<TrustFileEdit> {
  return edit(path, { isRevocation: true }, (text, file) => {
    const keys = parseTrustedKeys(text, file);
    const grant = findEntry(keys, fingerprintOrName);
    if (grant !== undefined) return withoutEntry(text, file, keys.indexOf(grant));
    if (mustBeThere) throw unknownEntry(keys, fingerprintOrName, "Cannot untrust", file);
    return text;
  });
}

/**
 * Revokes a key without a change of the trust file, which is signed: writes it, and its next key, to `revoked-keys.json`
 * beside the file. `changed` is false when they were there already. A name must have an entry, or this throws `bad_config`;
 * a key need not have one.
 */
export async function revokeTrustedKey(path: string, fingerprintOrName: string): Promise<TrustFileEdit> {
  const file = basename(path);
  const isKey = isFingerprint(fingerprintOrName);
  const keys = await readTrustedKeysText(path)
    .then((text) => parseTrustedKeys(text, file))
    .catch((error) => {
      // A revocation must not fail because the trust file is broken.
      if (isKey) return undefined;
      throw error;
    });
  const grant = keys && findEntry(keys, fingerprintOrName);
  const own =
    grant === undefined ? [] : [grant.fingerprint, ...(grant.next === undefined ? [] : [grant.next])];
  if (!isKey && grant === undefined && keys !== undefined)
    throw unknownEntry(keys, fingerprintOrName, "Cannot untrust", file);
  const given = isKey ? [parseFingerprint(fingerprintOrName)] : [];
  return { changed: await revokeKeys(path, [...new Set([...own, ...given])]) };
}

/**
 * Makes `next` the next key of the entry of `old`: both are trusted from then on. It replaces any earlier next key. The
 * other entries are unchanged, byte for byte. Throws `untrusted` when no entry has the key `old`, and `bad_config` when
 * another entry has `next`.
 */
export function setNextKey(path: string, old: Fingerprint, next: Fingerprint): Promise<TrustFileEdit> {
  return edit(path, {}, (text, file) => {
    const grants = [...parseTrustedKeys(text, file)];
    const index = grants.findIndex((grant) => grant.fingerprint === old);
    if (grants[index]?.next === next) return text;
    if (index < 0) throw new VeripyError("untrusted", `${file} has no entry with the key ${old}.`);
    return withFields(text, file, index, { next });
  });
}

/**
 * Replaces the key of the entry whose next key is `next`. The old key is no longer trusted. `changed` is false when
 * `next` is no entry's next key.
 */
export function confirmNextKey(path: string, next: Fingerprint): Promise<TrustFileEdit> {
  return edit(path, {}, (text, file) => {
    const index = [...parseTrustedKeys(text, file)].findIndex((grant) => grant.next === next);
    return index < 0 ? text : withFields(text, file, index, { fingerprint: next, next: undefined });
  });
}

interface EditOptions {
  /** The contents assumed for a missing file. Without this, a missing file is an error. */
  readonly ifMissing?: string;
  readonly isRevocation?: boolean;
}

/** Reads, changes, checks and replaces the file, under its lock. */
async function edit(
  givenPath: string,
  { ifMissing, isRevocation = false }: EditOptions,
  change: (text: string, file: string) => string,
): Promise<TrustFileEdit> {
  const path = await targetOf(givenPath);
  const file = basename(givenPath);
  try {
    // Before locking, which would create a file in a directory without a server.
    if (ifMissing === undefined && !(await isThere(path))) throw noTrustFile(givenPath);
    return await withFileLock(path, async () => {
      const status = await statIfThere(path);
      const isExposed = status !== undefined && isWorldWritable(status.mode);
      if (isExposed && !isRevocation) throw worldWritable(givenPath, status.mode);
      const isNew = status === undefined && ifMissing !== undefined;
      const before = isNew ? ifMissing : await readTrustedKeysText(path);
      const after = change(before, file);
      if (after === before && !isNew) return { changed: false };
      parseTrustedKeys(after, file);
      await replace(path, after, status);
      return { changed: true, ...(isExposed ? { warning: exposedText(givenPath, status.mode) } : {}) };
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_identity", `Cannot edit ${givenPath}: ${reasonOf(error)}.`, { cause: error });
  }
}

function noTrustFile(path: string): VeripyError {
  return new VeripyError(
    "bad_identity",
    `Cannot edit ${path}: it does not exist, so there is no server here. Run 'veripy-server init' to create one. ` +
      "If its trusted keys are elsewhere, give their path with --trusted-keys.",
  );
}

function exposedText(path: string, mode: number): string {
  return (
    `Every user of this machine could write to ${path} (mode ${(mode & 0o777).toString(8)}). ` +
    "This is now fixed, but check the remaining entries."
  );
}

/** A symbolic link is kept: its target is replaced. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return path;
    throw new VeripyError("bad_identity", `Cannot edit ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

/** Keeps the owner and mode, but not world write access. An edit by root must not lock out the server's user. */
async function replace(path: string, text: string, status: Stats | undefined): Promise<void> {
  if (status === undefined) return writeFileAtomic(path, text, 0o600);
  await writeFileAtomic(path, text, status.mode & 0o775);
  const now = await stat(path);
  // Only root may change the owner. For other users it is whoever edits.
  if (now.uid !== status.uid || now.gid !== status.gid)
    await chown(path, status.uid, status.gid).catch(() => {});
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    throw error;
  }
}
