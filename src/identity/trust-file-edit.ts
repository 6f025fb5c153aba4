import type { Stats } from "node:fs";
import { chown, realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import { isSystemError, messageOf, VeripyError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { withFileLock } from "./file-lock.ts";
import { type Fingerprint, isFingerprint, parseFingerprint } from "./fingerprint.ts";
import type { Action } from "./grant.ts";
import { parseStrictJson, type Span } from "./strict-json.ts";
import { parseTrustedKeys, readTrustedKeysText } from "./trust-file.ts";

/** The optional fields of an entry, as the file has them. */
export interface TrustedKeyFields {
  name?: string;
  modules?: readonly string[];
  actions?: readonly Action[];
  from?: readonly string[];
  expires?: string;
  max_connections?: number;
}

/**
 * Trusts a key: puts an entry at the end of the file. What else is in the file stays as it is, byte for byte. A key
 * that is there already stays as it is too, and `changed` is false; to give it other fields, edit the file or
 * remove it first. A missing file is made. Throws `bad_config` for fields that the file may not have, for a
 * name that another key has, and for a file that is not valid before the edit; nothing is written then.
 */
export function addTrustedKey(
  path: string,
  fingerprint: Fingerprint,
  fields: TrustedKeyFields = {},
): Promise<{ changed: boolean }> {
  return edit(path, "[]\n", (text, file) => {
    if (parseTrustedKeys(text, file).lookup(fingerprint) !== undefined) return text;
    const given = Object.entries(fields).filter(([, value]) => value !== undefined);
    const entry = given.length === 0 ? fingerprint : { fingerprint, ...Object.fromEntries(given) };
    return withElement(text, file, JSON.stringify(entry));
  });
}

/**
 * Takes an entry out of the file, named by its key, by the key that is to follow that, or by its name; `changed` is
 * false when it is not there. What else is in the file stays as it is, byte for byte.
 */
export function removeTrustedKey(path: string, fingerprintOrName: string): Promise<{ changed: boolean }> {
  const isName = !isFingerprint(fingerprintOrName);
  const wanted = isName ? fingerprintOrName : parseFingerprint(fingerprintOrName);
  return edit(path, undefined, (text, file) => {
    const grants = [...parseTrustedKeys(text, file)];
    const index = grants.findIndex((grant) =>
      isName ? grant.name === wanted : [grant.fingerprint, grant.next].some((key) => key === wanted),
    );
    return index < 0 ? text : withoutElement(text, file, index);
  });
}

/**
 * Has the key `next` follow the key `old` of an entry: both are trusted from then on. Whatever was to follow it
 * before is not any more. `changed` is false when the file says so already. The other entries stay as they are,
 * byte for byte. Throws `untrusted` when no entry has that key, and `bad_config` when another entry has `next`.
 */
export function setNextKey(path: string, old: Fingerprint, next: Fingerprint): Promise<{ changed: boolean }> {
  return edit(path, undefined, (text, file) => {
    const grants = [...parseTrustedKeys(text, file)];
    const index = grants.findIndex((grant) => grant.fingerprint === old);
    if (grants[index]?.next === next) return text;
    if (index < 0) throw new VeripyError("untrusted", `${file}: there is no entry with the key ${old}.`);
    return withFields(text, file, index, { next });
  });
}

/**
 * Puts the key `next` in the place of the one that it was to follow, which is not trusted any more. `changed` is
 * false when it is to follow none.
 */
export function confirmNextKey(path: string, next: Fingerprint): Promise<{ changed: boolean }> {
  return edit(path, undefined, (text, file) => {
    const index = [...parseTrustedKeys(text, file)].findIndex((grant) => grant.next === next);
    return index < 0 ? text : withFields(text, file, index, { fingerprint: next, next: undefined });
  });
}

/** Reads, changes, checks and replaces the file, one editor at a time. */
async function edit(
  givenPath: string,
  ifMissing: string | undefined,
  change: (text: string, file: string) => string,
): Promise<{ changed: boolean }> {
  const path = await targetOf(givenPath);
  const file = basename(givenPath);
  try {
    return await withFileLock(path, async () => {
      const status = await statIfThere(path);
      const isNew = status === undefined && ifMissing !== undefined;
      const before = isNew ? ifMissing : await readTrustedKeysText(path);
      const after = change(before, file);
      if (after === before && !isNew) return { changed: false };
      parseTrustedKeys(after, file);
      await replace(path, after, status);
      return { changed: true };
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_identity", `Cannot edit ${givenPath}: ${messageOf(error)}`, { cause: error });
  }
}

/** A symbolic link stays one: what it points to is replaced. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return path;
    throw new VeripyError("bad_identity", `Cannot edit ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Keeps mode and owner: an edit by root must not lock the server's own user out. */
async function replace(path: string, text: string, status: Stats | undefined): Promise<void> {
  if (status === undefined) return writeFileAtomic(path, text, 0o600);
  await writeFileAtomic(path, text, status.mode & 0o777);
  const now = await stat(path);
  // Only root may give files away; for anybody else the new owner is the one who edits.
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

/** Puts an element at the end, laid out as the last one is. */
function withElement(text: string, file: string, json: string): string {
  const { elements } = parseStrictJson(text, file);
  const last = elements.at(-1);
  if (last === undefined) {
    const open = text.indexOf("[");
    return `${text.slice(0, open)}[\n  ${json}\n]${text.slice(text.indexOf("]", open) + 1)}`;
  }
  const before = elements.at(-2)?.end ?? text.indexOf("[");
  // White space and one comma or bracket.
  const lead = text.slice(before, last.start).replace(/[[,]/, "");
  return `${text.slice(0, last.end)},${lead}${json}${text.slice(last.end)}`;
}

/** Changes fields of one entry; undefined takes one out. An entry with nothing but a key is written as that key. */
function withFields(
  text: string,
  file: string,
  index: number,
  fields: { fingerprint?: Fingerprint; next: Fingerprint | undefined },
): string {
  const { start, end } = parseStrictJson(text, file).elements[index] as Span;
  const before: unknown = JSON.parse(text.slice(start, end));
  const entry = { ...(typeof before === "string" ? { fingerprint: before } : (before as object)), ...fields };
  const { fingerprint, ...rest } = entry as { fingerprint: string; next?: string };
  const isBare = Object.values(rest).every((value) => value === undefined);
  return text.slice(0, start) + JSON.stringify(isBare ? fingerprint : entry) + text.slice(end);
}

/** Takes out an element with the comma that stands before it, or after it if it is the first. */
function withoutElement(text: string, file: string, index: number): string {
  const { elements } = parseStrictJson(text, file);
  const { start, end } = elements[index] as Span;
  const previous = elements[index - 1];
  const next = elements[index + 1];
  if (previous !== undefined) return text.slice(0, previous.end) + text.slice(end);
  if (next !== undefined) return text.slice(0, start) + text.slice(next.start);
  const open = text.lastIndexOf("[", start);
  return `${text.slice(0, open)}[]${text.slice(text.indexOf("]", end) + 1)}`;
}
