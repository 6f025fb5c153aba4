import { randomBytes, timingSafeEqual } from "node:crypto";
import { VeripyError } from "../base/errors.ts";
import { hmacSha256, type Sha256Hex, sha256Hex } from "../base/sha256.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";

/**
 * A one-time code as people type it: `K3F9-7QXM-2R8T-D5VA-0WJC`. The first group names the invitation, so that
 * wrong guesses count against it and not against others; the other four are 80 random bits.
 */
export interface InvitationCode {
  readonly id: string;
  readonly secret: string;
}

// Crockford's base 32: no I, L, O, U, so that a code survives being read aloud.
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

/** Accepts lower case, missing hyphens, spaces, and the letters that look like digits. Throws `bad_config`. */
export function parseCode(text: string): InvitationCode {
  const plain = text.toUpperCase().replaceAll(/[\s-]/g, "").replaceAll("O", "0").replaceAll(/[IL]/g, "1");
  if (!/^[0-9A-HJKMNP-TV-Z]*$/.test(plain) || plain.length !== idLength + secretLength) {
    throw new VeripyError(
      "bad_config",
      `That is no invitation code: one has ${idLength + secretLength} letters and digits in groups of four, this has ${plain.length}.`,
    );
  }
  return { id: plain.slice(0, idLength), secret: plain.slice(idLength) };
}

/** True for what may stand as the id of an invitation. */
export function isInvitationId(text: string): boolean {
  return text.length === idLength && [...text].every((character) => alphabet.includes(character));
}

/** What the server keeps of a code: enough to check a proof and to make its own, not the code itself. */
export function verifierOf({ id, secret }: InvitationCode): Sha256Hex {
  return sha256Hex(`veripy invitation 1\n${id}\n${secret}\n`);
}

/** What a proof is bound to: this very TLS connection, and the keys at its two ends. */
export interface ProofBinding {
  /** 32 bytes of keying material that only the two ends of this connection have (RFC 8446, section 7.5). */
  readonly exporter: Uint8Array;
  readonly client: Fingerprint;
  readonly server: Fingerprint;
}

export const exporterLabel = "EXPORTER-veripy-join";
export const exporterBytes = 32;

/**
 * The proof that one end knows the code, 64 hexadecimal digits. Somebody between the two ends has another
 * exporter value on each side, so a proof is of no use to him; searching the code from it means 2^80 tries.
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
