import { basename } from "node:path";
import type { z } from "zod";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { readFileBounded } from "../base/files.ts";
import { plainWords } from "../base/plain-issue.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { type ArrayPlace, type JsonValue, parseStrictJson } from "../base/strict-json.ts";
import { decodeUtf8 } from "../base/utf8.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { entrySchema, Grant } from "./grant.ts";
import { readRevokedKeys } from "./revoked-keys.ts";

/** Whether a key is let in from an address at a certain time. */
export type TrustVerdict = "trusted" | "untrusted" | "expired" | "wrong_address";

const maxFileBytes = 16 * 1024 * 1024;
const listKey = "trusted_fingerprints";

/** The text of a file that trusts no key. */
export const emptyTrustFile = `{\n  "${listKey}": []\n}\n`;

/** The trusted keys in one version of the file. Immutable. */
export class TrustedKeys {
  /** The text that this was parsed from. */
  readonly text: string;
  /** From `revoked-keys.json`. */
  readonly revoked: ReadonlySet<Fingerprint>;
  readonly #grants: readonly Grant[];
  readonly #byKey: ReadonlyMap<Fingerprint, Grant>;
  readonly #expiring: readonly Grant[];

  /** An entry whose key is revoked counts for nothing; a next key that is revoked, for nothing but the rest of its entry. */
  constructor(text: string, grants: readonly Grant[], revoked: ReadonlySet<Fingerprint> = new Set()) {
    this.text = text;
    this.revoked = revoked;
    this.#grants = grants;
    const byKey = new Map<Fingerprint, Grant>();
    for (const grant of grants) {
      if (revoked.has(grant.fingerprint)) continue;
      byKey.set(grant.fingerprint, grant);
      if (grant.next !== undefined && !revoked.has(grant.next)) byKey.set(grant.next, grant);
    }
    this.#byKey = byKey;
    this.#expiring = grants.filter((grant) => grant.expiresAt !== undefined);
  }

  /** The same entries, without those that are revoked. */
  without(revoked: ReadonlySet<Fingerprint>): TrustedKeys {
    return new TrustedKeys(this.text, this.#grants, revoked);
  }

  get size(): number {
    return this.#grants.length;
  }

  /** All entries in file order, including expired ones. */
  [Symbol.iterator](): IterableIterator<Grant> {
    return this.#grants.values();
  }

  /** The position of an entry in the list; -1 for one of another list. */
  indexOf(grant: Grant): number {
    return this.#grants.indexOf(grant);
  }

  /** Describes an entry in a message: its JSON path, and its name if it has one. */
  describe(grant: Grant): string {
    const name = grant.name === undefined ? "" : ` ('${grant.name}')`;
    return `${entryPath(this.indexOf(grant))}${name}`;
  }

  /** The entry with that key or next key, even if it has expired. */
  lookup(fingerprint: Fingerprint): Grant | undefined {
    return this.#byKey.get(fingerprint);
  }

  /** What the key may do now, from that IP address; undefined when it is refused. */
  grantFor(fingerprint: Fingerprint, address: string, now = Date.now()): Grant | undefined {
    return this.verdict(fingerprint, address, now) === "trusted" ? this.lookup(fingerprint) : undefined;
  }

  /** Whether the key is let in now, from that IP address, or why not. */
  verdict(fingerprint: Fingerprint, address: string, now = Date.now()): TrustVerdict {
    const grant = this.lookup(fingerprint);
    if (grant === undefined) return "untrusted";
    if (grant.isExpired(now)) return "expired";
    return grant.mayComeFrom(address) ? "trusted" : "wrong_address";
  }

  /** The number of expired entries. It changes when an entry expires, without a change of the file. */
  countExpired(now = Date.now()): number {
    return this.#expiring.reduce((count, grant) => count + (grant.isExpired(now) ? 1 : 0), 0);
  }
}

/**
 * Parses `trusted-keys.json`: `{"trusted_fingerprints": […]}`, whose entries are a fingerprint, or
 * `{"fingerprint","name"?,"modules"?,"actions"?,"from"?,"expires"?,"max_connections"?,"next"?}`. An empty list allows
 * nothing; a missing list sets no limit. Throws `bad_config`, with line and column or the JSON path, for unknown keys,
 * duplicate fingerprints or names, and anything else that does not have exactly this form.
 */
export function parseTrustedKeys(text: string, file = "trusted-keys.json"): TrustedKeys {
  return new TrustedKeys(text, grantsOf(parseTrustList(text, file).entries, file));
}

/** The list of entries and where it is in the text, for editing. The entries are not checked. */
export function parseTrustList(text: string, file: string): { entries: JsonValue[]; place: ArrayPlace } {
  const { value, places } = parseStrictJson(text, file);
  const entries = listIn(value, file);
  // The place of every member that is an array is recorded.
  return { entries, place: places.get(entries) as ArrayPlace };
}

function listIn(value: JsonValue, file: string): JsonValue[] {
  if (typeof value !== "object" || Array.isArray(value) || value === null) {
    const kind = value === null ? "null" : `a ${typeof value}`;
    const found = Array.isArray(value) ? "a bare array. Put it under that key" : kind;
    throw new VeripyError(
      "bad_config",
      `${file}: must be an object like {"${listKey}": ["3f0c…"]}, not ${found}.`,
    );
  }
  const unknown = Object.keys(value).find((key) => key !== listKey);
  if (unknown !== undefined) {
    throw new VeripyError(
      "bad_config",
      `${file}: unknown key ${JSON.stringify(unknown)}. The only key allowed is "${listKey}".`,
    );
  }
  const list = value[listKey];
  if (Array.isArray(list)) return list;
  const why = list === undefined ? "the key is missing; it " : "";
  throw new VeripyError("bad_config", `${file}: ${listKey}: ${why}must be a list of fingerprints, or [].`);
}

function grantsOf(entries: readonly JsonValue[], file: string): Grant[] {
  const byFingerprint = new Map<Fingerprint, number>();
  const byName = new Map<string, number>();
  return entries.map((entry, index) => {
    const isText = typeof entry === "string";
    const parsed = entrySchema.safeParse(isText ? { fingerprint: entry } : entry, plainWords);
    if (!parsed.success) throw entryError(parsed.error, index, isText, file);
    const { fingerprint, name, next } = parsed.data;
    refuseTwice(byFingerprint, fingerprint, index, isText ? "" : ".fingerprint", file);
    if (next !== undefined) refuseTwice(byFingerprint, next, index, ".next", file);
    if (name !== undefined) refuseTwice(byName, name, index, ".name", file);
    return new Grant(parsed.data);
  });
}

/** The JSON path of an entry. */
function entryPath(index: number): string {
  return `${listKey}[${index}]`;
}

function refuseTwice<T>(seen: Map<T, number>, value: T, index: number, path: string, file: string): void {
  const first = seen.get(value);
  if (first !== undefined) {
    throw new VeripyError(
      "bad_config",
      `${file}: ${entryPath(index)}${path}: ${value} is already in ${entryPath(first)}.`,
    );
  }
  seen.set(value, index);
}

function entryError(error: z.ZodError, index: number, isText: boolean, file: string): VeripyError {
  const issue = error.issues[0];
  const steps = isText ? [] : (issue?.path ?? []);
  const path = steps.map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`)).join("");
  const message = (issue?.message ?? "not valid").replace(/\.$/, "");
  return new VeripyError("bad_config", `${file}: ${entryPath(index)}${path}: ${message}.`);
}

/**
 * Reads and parses the file, and `revoked-keys.json` beside it. Throws `bad_identity` when it is missing or unreadable,
 * `bad_config` otherwise.
 */
export async function readTrustedKeys(path: string): Promise<TrustedKeys> {
  const keys = parseTrustedKeys(await readTrustedKeysText(path), basename(path));
  const revoked = await readRevokedKeys(path);
  return revoked === undefined ? keys : keys.without(revoked);
}

/** Reads the text of a trust file. Throws `bad_identity` when it is missing or unreadable. */
export async function readTrustedKeysText(path: string): Promise<string> {
  try {
    return decodeUtf8(await readFileBounded(path, maxFileBytes));
  } catch (error) {
    const why = isSystemError(error, "ENOENT")
      ? "it does not exist. 'veripy-server init' creates one. To trust no keys yet: {\"trusted_fingerprints\": []}."
      : error instanceof TypeError
        ? "it is not UTF-8 text."
        : `${reasonOf(error)}.`;
    throw new VeripyError("bad_identity", `Cannot read the trusted keys ${path}: ${why}`, { cause: error });
  }
}
