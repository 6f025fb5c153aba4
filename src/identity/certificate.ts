import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import { VeripyError } from "../base/errors.ts";

export interface CertificateOptions {
  /** The subject, which is for people and never checked. Letters, digits, spaces, dots and hyphens. */
  commonName: string;
  /** The private key, PKCS#8 PEM: Ed25519 or P-256. */
  keyPem: string;
  /** Valid for this long from now. */
  days: number;
}

const dayMs = 86_400_000;

/**
 * Makes a self-signed certificate in PEM form. VeriPy pins keys and ignores names and dates. They are there so that
 * other TLS libraries accept the certificate when they are told to trust it. Throws `bad_identity` for an unsupported
 * kind of key.
 */
export async function makeCertificate({ commonName, keyPem, days }: CertificateOptions): Promise<string> {
  const privateKey = createPrivateKey(keyPem);
  const algorithm = algorithmOf(privateKey);
  // Loaded on demand: 230 KB that a start with an existing identity doesn't need.
  const x509 = await import("./x509.ts");

  const signingKey = await crypto.subtle.importKey(
    "pkcs8",
    privateKey.export({ type: "pkcs8", format: "der" }),
    algorithm,
    false,
    ["sign"],
  );
  const publicKey = await crypto.subtle.importKey(
    "spki",
    createPublicKey(privateKey).export({ type: "spki", format: "der" }),
    algorithm,
    true,
    ["verify"],
  );
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomSerial(),
      name: [{ CN: [commonName] }],
      // A day ago, because the other machine's clock may be behind.
      notBefore: new Date(now - dayMs),
      notAfter: new Date(now + days * dayMs),
      signingAlgorithm: algorithm,
      keys: { privateKey: signingKey, publicKey },
      extensions: [
        // Without a key usage: with one that does not include signing certificates, TLS libraries don't recognize this
        // as self-signed, and look for its issuer on disk in every handshake.
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth,
        ]),
        new x509.SubjectAlternativeNameExtension([
          { type: "dns", value: "localhost" },
          { type: "ip", value: "127.0.0.1" },
          { type: "ip", value: "::1" },
        ]),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(publicKey),
      ],
    },
    crypto,
  );
  return `${certificate.toString("pem")}\n`;
}

/** Throws `bad_identity` for a key that is neither Ed25519 nor P-256. */
export function algorithmOf(key: KeyObject): { name: string; namedCurve?: string; hash?: string } {
  if (key.asymmetricKeyType === "ed25519") return { name: "Ed25519" };
  if (key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === "prime256v1") {
    return { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  }
  const kind = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? "unknown";
  throw new VeripyError("bad_identity", `Cannot use a key of type '${kind}': use Ed25519 or P-256.`);
}

/** 127 random bits. RFC 5280 requires a positive integer of at most 20 octets. */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
