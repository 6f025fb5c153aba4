import type { Stats } from "node:fs";
import { chown, realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { isWorldWritable, worldWritable } from "../base/file-modes.ts";
import { isThere, writeFileAtomic } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { findEntry, refuseTakenName, unknownEntry } from "./find-entry.ts";
import type { Grant, TrustedKeyFields } from "./grant.ts";
import { checkFields } from "./key-fields.ts";
import {
  emptyTrustFile,
  parseTrustedKeys,
  parseTrustList,
  readTrustedKeysText,
  type TrustedKeys,
} from "./trust-file.ts";
import { withEntry, withFields, withoutEntry } from "./trust-file-text.ts";

export type { TrustedKeyFields } from "./grant.ts";

/** What to change in an entry: a value for a field, or null to remove it. */
export type TrustedKeyChanges = { [Field in keyof TrustedKeyFields]?: TrustedKeyFields[Field] | null };

export interface TrustFileEdit {
  /** False when the file says so already. */
  readonly changed: boolean;
  /** What the operator should know beside that. */
  readonly warning?: string;
}

/**
 * Trusts a key: puts an entry at the end of the file. What else is in the file stays as it is, byte for byte. `changed`
 * is false when the key has an entry with these fields. A missing file is made. Throws `bad_config` for a key that has
 * an entry with other fields or is the next key of another one, for fields that the file may not have, for a name that
 * another key has, and for a file that is not valid before the edit; nothing is written then.
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

/** Throws `bad_config` when the key is in the file, but not as asked for. */
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
    `Cannot trust ${fingerprint} like that: ${file}: ${keys.describe(grant)} has this key already, with another value for ${others.join(", ")}. ` +
      "Edit the entry, or remove it with 'veripy-server untrust' first.",
  );
}

/**
 * Trusts a key, or changes the entry that it has: the given fields replace those of the entry, the others stay, and what
 * else is in the file stays as it is, byte for byte. The warning tells of a key that is not let in for all that, because
 * its entry has expired. Throws `bad_config` for fields that the file may not have, a name that another key has, and a
 * key that is the next key of another one; `bad_identity` when there is no such file. Nothing is written then.
 */
export async function trustKey(
  path: string,
  fingerprint: Fingerprint,
  changes: TrustedKeyChanges = {},
): Promise<TrustFileEdit & { readonly added: boolean }> {
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  const fields = Object.fromEntries(given.filter(([, value]) => value !== null)) as TrustedKeyFields;
  checkFields(fields);
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

function expiredWarning(fingerprint: Fingerprint, expires: unknown): { warning?: string } {
  if (typeof expires !== "string" || Date.parse(expires) > Date.now()) return {};
  return {
    warning:
      `The entry of ${fingerprint} has expired (${expires}), so this key is not let in. ` +
      `To renew it: veripy-server trust ${fingerprint} --expires 30d`,
  };
}

function refuseNextKey(keys: TrustedKeys, grant: Grant, fingerprint: Fingerprint, file: string): void {
  if (grant.next !== fingerprint) return;
  throw new VeripyError(
    "bad_config",
    `Cannot trust ${fingerprint}: ${file}: ${keys.describe(grant)} has it as its next key. Remove that entry first: ` +
      `veripy-server untrust ${grant.fingerprint}`,
  );
}

/** An entry as the file has it. */
function fieldsOf(text: string, file: string, index: number): Record<string, unknown> {
  const entry = parseTrustList(text, file).entries[index];
  return typeof entry === "object" ? { ...entry } : {};
}

/** A key without fields is written as its fingerprint alone. */
function entryText(fingerprint: Fingerprint, fields: TrustedKeyFields): string {
  return JSON.stringify(Object.keys(fields).length === 0 ? fingerprint : { fingerprint, ...fields });
}

/**
 * Removes an entry from the file, named by its key, by its next key, or by its name; `changed` is false when it is not
 * there, unless it must be: then this throws `bad_config`, which names what is there. What else is in the file stays as
 * it is, byte for byte.
 *
 * A revocation must not fail, so a file that everyone on this machine may write is edited too. It is not writable for
 * everyone afterwards, as a running server would not read it otherwise; the warning says so.
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
 * Has the key `next` follow the key `old` of an entry: both are trusted from then on. Whatever was to follow it
 * before no longer is. The other entries stay as they are, byte for byte. Throws `untrusted` when no entry has that
 * key, and `bad_config` when another entry has `next`.
 */
export function setNextKey(path: string, old: Fingerprint, next: Fingerprint): Promise<TrustFileEdit> {
  return edit(path, {}, (text, file) => {
    const grants = [...parseTrustedKeys(text, file)];
    const index = grants.findIndex((grant) => grant.fingerprint === old);
    if (grants[index]?.next === next) return text;
    if (index < 0) throw new VeripyError("untrusted", `${file}: there is no entry with the key ${old}.`);
    return withFields(text, file, index, { next });
  });
}

/**
 * Puts the key `next` in the place of the one that it was to follow, which is no longer trusted. `changed` is
 * false when it is to follow none.
 */
export function confirmNextKey(path: string, next: Fingerprint): Promise<TrustFileEdit> {
  return edit(path, {}, (text, file) => {
    const index = [...parseTrustedKeys(text, file)].findIndex((grant) => grant.next === next);
    return index < 0 ? text : withFields(text, file, index, { fingerprint: next, next: undefined });
  });
}

interface EditOptions {
  /** What a missing file is taken to say. Without it, a missing file is an error. */
  readonly ifMissing?: string;
  readonly isRevocation?: boolean;
}

/** Reads, changes, checks and replaces the file, one editor at a time. */
async function edit(
  givenPath: string,
  { ifMissing, isRevocation = false }: EditOptions,
  change: (text: string, file: string) => string,
): Promise<TrustFileEdit> {
  const path = await targetOf(givenPath);
  const file = basename(givenPath);
  try {
    // Before the lock, which would leave a trace where no server lives.
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
    `Cannot edit ${path}: it is not there, so no server lives here. If one should, run 'veripy-server init' first; ` +
      "if its trusted keys are elsewhere, name them with --trusted-keys.",
  );
}

function exposedText(path: string, mode: number): string {
  return (
    `Until now anyone on this machine could write ${path} (mode ${(mode & 0o777).toString(8)}). ` +
    "That is corrected, but check the entries that are left."
  );
}

/** A symbolic link stays one: what it points to is replaced. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return path;
    throw new VeripyError("bad_identity", `Cannot edit ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

/** Keeps owner and mode, but for the right of everyone to write: an edit by root must not lock the server's user out. */
async function replace(path: string, text: string, status: Stats | undefined): Promise<void> {
  if (status === undefined) return writeFileAtomic(path, text, 0o600);
  await writeFileAtomic(path, text, status.mode & 0o775);
  const now = await stat(path);
  // Only root may give files away; for others the new owner is the one who edits.
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
