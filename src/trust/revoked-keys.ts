import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { plainWords, strictKeys } from "../base/plain-issue.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { parseStrictJson } from "../base/strict-json.ts";
import { type Fingerprint, isFingerprint, parseFingerprint } from "../identity/fingerprint.ts";

const listKey = "revoked_fingerprints";
const maxFileBytes = 16 * 1024 * 1024;

const revokedFile = z.strictObject(
  {
    [listKey]: z.array(
      z
        .string()
        .refine(isFingerprint, "must be a fingerprint of 64 hexadecimal digits")
        .transform((text) => parseFingerprint(text)),
    ),
  },
  strictKeys([listKey]),
);

/** `revoked-keys.json` beside a trust file: keys that are not trusted, whatever the trust file says. */
export function revokedKeysPath(trustedKeysPath: string): string {
  return join(dirname(trustedKeysPath), "revoked-keys.json");
}

/** Parses `{"revoked_fingerprints": ["…"]}`. Throws `bad_config`, with the place, for any other form. */
export function parseRevokedKeys(text: string, file: string): Set<Fingerprint> {
  const parsed = revokedFile.safeParse(parseStrictJson(text, file).value, plainWords);
  if (parsed.success) return new Set(parsed.data[listKey]);
  const [issue] = parsed.error.issues;
  const path = (issue?.path ?? [])
    .map((step) => (typeof step === "number" ? `[${step}]` : String(step)))
    .join("");
  throw new VeripyError("bad_config", `${file}: ${path === "" ? "" : `${path}: `}${issue?.message}.`);
}

/** The revoked keys beside a trust file; undefined when there is no such file. Throws `bad_config` for one that is broken. */
export async function readRevokedKeys(trustedKeysPath: string): Promise<Set<Fingerprint> | undefined> {
  const path = revokedKeysPath(trustedKeysPath);
  let text: string | undefined;
  try {
    text = await readTextIfThere(path, maxFileBytes);
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot read ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  return text === undefined ? undefined : parseRevokedKeys(text, basename(path));
}

/** Adds keys to the file, which is created if it is missing. Returns false when it had all of them. */
export async function revokeKeys(trustedKeysPath: string, keys: readonly Fingerprint[]): Promise<boolean> {
  const path = revokedKeysPath(trustedKeysPath);
  try {
    return await withFileLock(path, async () => {
      const before = (await readRevokedKeys(trustedKeysPath)) ?? new Set();
      const after = new Set([...before, ...keys]);
      if (after.size === before.size) return false;
      // It holds no secret, and the server may run as another user.
      await writeFileAtomic(path, `${JSON.stringify({ [listKey]: [...after] }, null, 2)}\n`);
      return true;
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_identity", `Cannot write ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}
