import { randomBytes, timingSafeEqual } from "node:crypto";
import { VeripyError } from "../base/errors.ts";
import { hmacSha256, type Sha256Hex, sha256Hex } from "../base/sha256.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";

/**
 * A one-time code that people type: `K3F9-7QXM-2R8T-D5VA-0WJC`. The first group identifies the invitation, so that wrong
 * guesses count against that one only. The other four are 80 random bits.
 */
export interface InvitationCode {
  readonly id: string;
  readonly secret: string;
}

// Crockford's base 32: without I, L, O and U, so that a code can be read aloud.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const idLength = 4;
const secretLength = 16;

export function createCode(): InvitationCode {
  const text = [...randomBytes(idLength + secretLength)].map((byte) => alphabet[byte % 32]).join("");
  return { id: text.slice(0, idLength), secret: text.slice(idLength) };
}

export function formatCode({ id, secret }: InvitationCode): string {
  return `${id}-${secret.replaceAll(/(.{4})(?=.)/g, "$1-")}`;
}

/** Accepts lower case, missing hyphens, spaces, and letters that look like digits. Throws `bad_config` otherwise. */
export function parseCode(text: string): InvitationCode {
  const plain = text.toUpperCase().replaceAll(/[\s-]/g, "").replaceAll("O", "0").replaceAll(/[IL]/g, "1");
  if (!/^[0-9A-HJKMNP-TV-Z]*$/.test(plain) || plain.length !== idLength + secretLength) {
    throw new VeripyError(
      "bad_config",
      `That is not an invitation code: expected ${idLength + secretLength} letters and digits in groups of four, got ${plain.length}.`,
    );
  }
  return { id: plain.slice(0, idLength), secret: plain.slice(idLength) };
}

/** Whether it is a well-formed invitation ID. */
export function isInvitationId(text: string): boolean {
  return text.length === idLength && [...text].every((character) => alphabet.includes(character));
}

/** What the server stores: enough to check a proof and make its own, but not the code. */
export function verifierOf({ id, secret }: InvitationCode): Sha256Hex {
  return sha256Hex(`veripy invitation 1\n${id}\n${secret}\n`);
}

/** What a proof is bound to: one TLS connection and the keys at both ends. */
export interface ProofBinding {
  /** 32 bytes of keying material known only to the two ends of this connection (RFC 8446 section 7.5). */
  readonly exporter: Uint8Array;
  readonly client: Fingerprint;
  readonly server: Fingerprint;
}

export const exporterLabel = "EXPORTER-veripy-join";
export const exporterBytes = 32;

/**
 * Proves that one end knows the code: 64 hexadecimal digits. A machine in the middle has a different exporter value on
 * each side, so it can't use a proof. Finding the code by guessing takes 2^80 attempts.
 */
export function proofOf(role: "client" | "server", verifier: Sha256Hex, binding: ProofBinding): string {
  const exporter = Buffer.from(binding.exporter).toString("hex");
  const text = `veripy join 1\n${role}\n${exporter}\n${binding.client}\n${binding.server}\n`;
  return Buffer.from(hmacSha256(Buffer.from(verifier, "hex"), text)).toString("hex");
}

/** Compares in constant time. */
export function isProof(
  given: string,
  role: "client" | "server",
  verifier: Sha256Hex,
  binding: ProofBinding,
): boolean {
  const expected = Buffer.from(proofOf(role, verifier, binding));
  const actual = Buffer.from(given);
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}
