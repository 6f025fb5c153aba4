import { X509Certificate } from "node:crypto";
import { VeripyError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";

/**
 * Identifies a client or server: the SHA-256 of its public key in DER form (SubjectPublicKeyInfo, RFC 5280 section
 * 4.1), as 64 lowercase hexadecimal digits. Renewing the certificate does not change it.
 *
 *     openssl x509 -in server.crt -noout -pubkey | openssl pkey -pubin -outform der | sha256sum
 */
export type Fingerprint = string & { readonly __brand: "Fingerprint" };

/**
 * Reads a fingerprint in any form that people write: upper or lower case, with or without colons between the bytes, with
 * or without `SHA256:` in front. Throws `bad_config` for anything else.
 */
export function parseFingerprint(text: string): Fingerprint {
  const digits = text.replace(/^sha256:/i, "");
  if (/^[0-9a-f]{64}$/i.test(digits)) return digits.toLowerCase() as Fingerprint;
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){31}$/i.test(digits)) {
    return digits.replaceAll(":", "").toLowerCase() as Fingerprint;
  }
  throw new VeripyError(
    "bad_config",
    `Cannot read ${quote(text)} as a fingerprint: it must be 64 hexadecimal digits, ${whatIsWrong(digits)}. ` +
      "'veripy-client fingerprint' and 'veripy-server fingerprint' print theirs.",
  );
}

/** Whether `parseFingerprint` accepts it. */
export function isFingerprint(text: string): boolean {
  try {
    parseFingerprint(text);
    return true;
  } catch {
    return false;
  }
}

/** The fingerprint of a public key, given as the DER of its SubjectPublicKeyInfo. */
export function fingerprintOfSpki(der: Uint8Array): Fingerprint {
  return sha256Hex(der) as string as Fingerprint;
}

/**
 * The fingerprint of a certificate's key. Throws when the key can't be read. Takes 5 µs of a handshake, where
 * `getPeerCertificate()` takes 17.
 */
export function fingerprintOfX509(certificate: X509Certificate): Fingerprint {
  return fingerprintOfSpki(certificate.publicKey.export({ type: "spki", format: "der" }));
}

/** The fingerprint of the key in the first certificate of a PEM text. Throws `bad_identity` when there is none. */
export function fingerprintOfCertificate(pem: string): Fingerprint {
  try {
    return fingerprintOfX509(new X509Certificate(pem));
  } catch (error) {
    throw new VeripyError(
      "bad_identity",
      "Cannot read the certificate: it is not in PEM form, or its key is of an unknown type.",
      {
        cause: error,
      },
    );
  }
}

function whatIsWrong(digits: string): string {
  const other = /[^0-9a-f:]/i.exec(digits)?.[0];
  if (other !== undefined) return `and this has ${JSON.stringify(other)} in it`;
  const count = digits.replaceAll(":", "").length;
  return count === 64 ? "with colons between all bytes or none" : `and this has ${count}`;
}

/** Untrusted text in a message: shortened, and without control characters. */
function quote(text: string): string {
  return `'${JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text).slice(1, -1)}'`;
}
