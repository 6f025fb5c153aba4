import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { plainWords } from "../base/plain-issue.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { algorithmOf } from "./certificate.ts";
import { type Fingerprint, fingerprintOfSpki, parseFingerprint } from "./fingerprint.ts";

/** The holder of a key declares that another key replaces it. */
export interface Rotation {
  readonly old: Fingerprint;
  readonly new: Fingerprint;
  readonly issued: Date;
}

/**
 * A rotation on the wire: `{"old","new","issued","key","signature","next_key","next_signature"}`. Two fingerprints, an
 * ISO date, and in base64 the old public key (SubjectPublicKeyInfo) with its signature and the new one with its own.
 */
export type SignedRotation = z.infer<typeof signedRotation>;

const fingerprintField = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .transform(parseFingerprint);

const signedRotation = z.object({
  old: fingerprintField,
  new: fingerprintField,
  issued: z.iso.datetime({ precision: 3 }),
  // Ed25519 and P-256 keys and signatures take less than 100 bytes.
  key: z.base64().max(256),
  signature: z.base64().max(256),
  next_key: z.base64().max(256),
  next_signature: z.base64().max(256),
});

/**
 * The first line of each signed text. It keeps a signature of the old key from being used as one of the new key, and the
 * other way round.
 */
const domains = { old: "VeriPy key rotation 1\n", new: "VeriPy next key 1\n" } as const;
const maxAgeMs = 24 * 60 * 60 * 1_000;
/** How far ahead the other machine's clock may be. */
const maxAheadMs = 5 * 60 * 1_000;

/**
 * Signs with both private keys (PKCS#8 PEM). The old key declares that the next one replaces it. The next key's
 * signature proves that the same client holds it: otherwise a client could announce another client's key as its own.
 */
export function signRotation(oldKeyPem: string, nextKeyPem: string, issued = new Date()): SignedRotation {
  const [oldKey, nextKey] = [createPrivateKey(oldKeyPem), createPrivateKey(nextKeyPem)];
  const [key, next] = [spkiOf(oldKey), spkiOf(nextKey)];
  const statement = {
    old: fingerprintOfSpki(key),
    new: fingerprintOfSpki(next),
    issued: issued.toISOString(),
  };
  return {
    ...statement,
    key: key.toString("base64"),
    signature: sign(digestOf(oldKey), signedBytes("old", statement), oldKey).toString("base64"),
    next_key: next.toString("base64"),
    next_signature: sign(digestOf(nextKey), signedBytes("new", statement), nextKey).toString("base64"),
  };
}

function spkiOf(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ type: "spki", format: "der" });
}

/** Reads a rotation from parsed JSON, without verifying it. Throws `bad_request` when its shape is wrong. */
export function parseRotation(value: unknown): SignedRotation {
  const parsed = signedRotation.safeParse(value, plainWords);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new VeripyError(
    "bad_request",
    `Cannot read a key rotation: ${issue?.path.join(".")}: ${issue?.message}.`,
  );
}

/**
 * Returns the rotation if both keys signed it, not more than a day ago. Throws `untrusted` otherwise. The caller must
 * decide whether the old key is trusted and the new one may replace it: a new key that is already trusted has rights of
 * its own, and must be refused.
 */
export function verifyRotation(signed: SignedRotation, now = Date.now()): Rotation {
  const issued = new Date(signed.issued);
  const age = now - issued.getTime();
  if (age > maxAgeMs || age < -maxAheadMs) {
    throw refusal(`it was issued at ${signed.issued}, and the time here is ${new Date(now).toISOString()}`);
  }
  if (signed.old === signed.new) throw refusal("the new key is the old one");
  for (const who of ["old", "new"] as const) {
    if (!isSignedBy(who, signed)) throw refusal(`it is not signed by the ${who} key ${signed[who]}`);
  }
  return { old: signed.old, new: signed.new, issued };
}

/**
 * The key that replaces `old`, from parsed JSON received over a connection of `old`. Throws `bad_request` when it is not
 * a rotation, and `untrusted` when it is about another key or `verifyRotation` refuses it.
 */
export function nextKeyOf(value: unknown, old: Fingerprint, now = Date.now()): Fingerprint {
  const signed = parseRotation(value);
  if (signed.old !== old) throw refusal(`it is for the key ${signed.old}, not for ${old}`);
  return verifyRotation(signed, now).new;
}

function isSignedBy(who: "old" | "new", signed: SignedRotation): boolean {
  const [keyText, signature] =
    who === "old" ? [signed.key, signed.signature] : [signed.next_key, signed.next_signature];
  const spki = Buffer.from(keyText, "base64");
  if (fingerprintOfSpki(spki) !== signed[who]) return false;
  try {
    const key = createPublicKey({ key: spki, format: "der", type: "spki" });
    return verify(digestOf(key), signedBytes(who, signed), key, Buffer.from(signature, "base64"));
  } catch (error) {
    // An unsupported type of key has a message of its own. OpenSSL's messages would not help the reader.
    const why = error instanceof VeripyError ? reasonOf(error) : `its ${who} key cannot be read`;
    throw refusal(why, error);
  }
}

/** Null for Ed25519, which hashes by itself. Throws for an unsupported type of key. */
function digestOf(key: KeyObject): string | null {
  return algorithmOf(key).name === "Ed25519" ? null : "sha256";
}

function signedBytes(
  who: "old" | "new",
  statement: { old: string; new: string; issued: string },
): Uint8Array {
  return Buffer.from(`${domains[who]}${statement.old}\n${statement.new}\n${statement.issued}\n`);
}

function refusal(why: string, cause?: unknown): VeripyError {
  return new VeripyError("untrusted", `Refused a key rotation: ${why}.`, { cause });
}
