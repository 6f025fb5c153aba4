import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { z } from "zod";
import { messageOf, VeripyError } from "../base/errors.ts";
import { algorithmOf } from "./certificate.ts";
import { type Fingerprint, fingerprintOfSpki, parseFingerprint } from "./fingerprint.ts";

/** The holder of one key says that another one is to take its place. */
export interface Rotation {
  readonly old: Fingerprint;
  readonly new: Fingerprint;
  readonly issued: Date;
}

/**
 * A rotation on the wire: `{"old","new","issued","key","signature"}`, fingerprints, an ISO date, then in base64
 * the old public key (SubjectPublicKeyInfo) and its signature.
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
  // An Ed25519 or P-256 key and signature are below 100 bytes.
  key: z.base64().max(256),
  signature: z.base64().max(256),
});

/** Signed texts of other kinds never begin like this one. */
const domain = "VeriPy key rotation 1\n";
const maxAgeMs = 24 * 60 * 60 * 1_000;
/** How far the other machine's clock may be ahead. */
const maxAheadMs = 5 * 60 * 1_000;

/** Says with the old private key (PKCS#8 PEM) that `next` takes its place. Whoever holds `next` need not agree. */
export function signRotation(oldKeyPem: string, next: Fingerprint, issued = new Date()): SignedRotation {
  const privateKey = createPrivateKey(oldKeyPem);
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const statement = { old: fingerprintOfSpki(spki), new: next, issued: issued.toISOString() };
  const signature = sign(digestOf(privateKey), signedBytes(statement), privateKey);
  return { ...statement, key: spki.toString("base64"), signature: signature.toString("base64") };
}

/** Reads a rotation from parsed JSON, without believing it. Throws `bad_request` when it has another shape. */
export function parseRotation(value: unknown): SignedRotation {
  const parsed = signedRotation.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new VeripyError(
    "bad_request",
    `Cannot read a key rotation: ${issue?.path.join(".")}: ${issue?.message}.`,
  );
}

/**
 * The rotation, if its old key has signed exactly it, not more than a day ago. Throws `untrusted` otherwise. It
 * proves what the old key's holder wants; whether that key is trusted, and whether the new one may stand for it,
 * is the caller's to decide: a new key that is trusted already has rights of its own, and must be refused.
 */
export function verifyRotation(signed: SignedRotation, now = Date.now()): Rotation {
  const issued = new Date(signed.issued);
  const age = now - issued.getTime();
  if (age > maxAgeMs || age < -maxAheadMs) {
    throw refusal(`it was issued at ${signed.issued}, and the time here is ${new Date(now).toISOString()}`);
  }
  if (signed.old === signed.new) throw refusal("the new key is the old one");
  if (!isSignedByOldKey(signed)) throw refusal(`it is not signed by the key ${signed.old}`);
  return { old: signed.old, new: signed.new, issued };
}

/**
 * The key that takes the place of `old`, from parsed JSON that whoever holds `old` has sent. Throws `bad_request` for
 * what is no rotation, and `untrusted` for one of another key or that `verifyRotation` does not believe.
 */
export function nextKeyOf(value: unknown, old: Fingerprint, now = Date.now()): Fingerprint {
  const signed = parseRotation(value);
  if (signed.old !== old) throw refusal(`it speaks of the key ${signed.old}, not of ${old}`);
  return verifyRotation(signed, now).new;
}

function isSignedByOldKey(signed: SignedRotation): boolean {
  const spki = Buffer.from(signed.key, "base64");
  if (fingerprintOfSpki(spki) !== signed.old) return false;
  try {
    const key = createPublicKey({ key: spki, format: "der", type: "spki" });
    return verify(digestOf(key), signedBytes(signed), key, Buffer.from(signed.signature, "base64"));
  } catch (error) {
    throw refusal(messageOf(error), error);
  }
}

/** Ed25519 hashes by itself. Throws for a key of another kind. */
function digestOf(key: KeyObject): string | null {
  return algorithmOf(key).name === "Ed25519" ? null : "sha256";
}

function signedBytes(statement: { old: string; new: string; issued: string }): Uint8Array {
  return new TextEncoder().encode(`${domain}${statement.old}\n${statement.new}\n${statement.issued}\n`);
}

function refusal(why: string, cause?: unknown): VeripyError {
  return new VeripyError("untrusted", `Refused a key rotation: ${why}.`, { cause });
}
