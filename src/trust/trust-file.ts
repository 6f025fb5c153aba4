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

/** A key's standing for somebody who comes from a certain address at a certain time. */
export type TrustVerdict = "trusted" | "untrusted" | "expired" | "wrong_address";

const maxFileBytes = 16 * 1024 * 1024;
const listKey = "trusted_fingerprints";

/** A file that trusts no key. */
export const emptyTrustFile = `{\n  "${listKey}": []\n}\n`;

/** Everybody who is trusted, as one version of the file says it. Immutable. */
export class TrustedKeys {
  /** The text that this was parsed from. */
  readonly text: string;
  readonly #grants: readonly Grant[];
  readonly #byKey: ReadonlyMap<Fingerprint, Grant>;
  readonly #expiring: readonly Grant[];

  constructor(text: string, grants: readonly Grant[]) {
    this.text = text;
    this.#grants = grants;
    const byKey = new Map<Fingerprint, Grant>();
    for (const grant of grants) {
      byKey.set(grant.fingerprint, grant);
      if (grant.next !== undefined) byKey.set(grant.next, grant);
    }
    this.#byKey = byKey;
    this.#expiring = grants.filter((grant) => grant.expiresAt !== undefined);
  }

  get size(): number {
    return this.#grants.length;
  }

  /** All entries in the order of the file, expired ones too. */
  [Symbol.iterator](): IterableIterator<Grant> {
    return this.#grants.values();
  }

  /** Where an entry stands in the list; -1 for one of another list. */
  indexOf(grant: Grant): number {
    return this.#grants.indexOf(grant);
  }

  /** An entry for a message: its JSON path, and its name if it has one. */
  describe(grant: Grant): string {
    const name = grant.name === undefined ? "" : ` ('${grant.name}')`;
    return `${entryPath(this.indexOf(grant))}${name}`;
  }

  /** The entry of a key, or of the key that is to follow it; expired or not. */
  lookup(fingerprint: Fingerprint): Grant | undefined {
    return this.#byKey.get(fingerprint);
  }

  /** What the key may do now, coming from that IP address; undefined when it is not to be let in. */
  grantFor(fingerprint: Fingerprint, address: string, now = Date.now()): Grant | undefined {
    return this.verdict(fingerprint, address, now) === "trusted" ? this.lookup(fingerprint) : undefined;
  }

  /** The same as a word, for those who report why somebody was refused. */
  verdict(fingerprint: Fingerprint, address: string, now = Date.now()): TrustVerdict {
    const grant = this.lookup(fingerprint);
    if (grant === undefined) return "untrusted";
    if (grant.isExpired(now)) return "expired";
    return grant.mayComeFrom(address) ? "trusted" : "wrong_address";
  }

  /** How many entries have expired; it changes when time alone has changed who is trusted. */
  countExpired(now = Date.now()): number {
    return this.#expiring.reduce((count, grant) => count + (grant.isExpired(now) ? 1 : 0), 0);
  }
}

/**
 * Parses the text of `trusted-keys.json`: `{"trusted_fingerprints": […]}`, whose entries are a fingerprint, or
 * `{"fingerprint","name"?,"modules"?,"actions"?,"from"?,"expires"?,"max_connections"?,"next"?}`. An empty list
 * allows nothing; a list that is left out does not limit. Throws `bad_config`: unknown keys, fingerprints or names that
 * are there twice, and anything else that is not exactly this, with line and column or with the JSON path.
 */
export function parseTrustedKeys(text: string, file = "trusted-keys.json"): TrustedKeys {
  return new TrustedKeys(text, grantsOf(parseTrustList(text, file).entries, file));
}

/** The list of entries and its place in the text, for those that edit it. The entries are not checked. */
export function parseTrustList(text: string, file: string): { entries: JsonValue[]; place: ArrayPlace } {
  const { value, places } = parseStrictJson(text, file);
  const entries = listIn(value, file);
  // Every array that is a member of the whole has a place.
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
      `${file}: unknown key ${JSON.stringify(unknown)}. The only key is "${listKey}".`,
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
      `${file}: ${entryPath(index)}${path}: ${value} is in ${entryPath(first)} already.`,
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

/** Reads and parses the file. Throws `bad_identity` when it is missing or unreadable, `bad_config` otherwise. */
export async function readTrustedKeys(path: string): Promise<TrustedKeys> {
  return parseTrustedKeys(await readTrustedKeysText(path), basename(path));
}

/** The text of a trust file; `bad_identity` when there is none, or it can't be read. */
export async function readTrustedKeysText(path: string): Promise<string> {
  try {
    return decodeUtf8(await readFileBounded(path, maxFileBytes));
  } catch (error) {
    const why = isSystemError(error, "ENOENT")
      ? "it is not there. 'veripy-server init' makes one; one that trusts no key says {\"trusted_fingerprints\": []}."
      : error instanceof TypeError
        ? "it is not UTF-8 text."
        : `${reasonOf(error)}.`;
    throw new VeripyError("bad_identity", `Cannot read the trusted keys ${path}: ${why}`, { cause: error });
  }
}
