import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import { VeripyError } from "../base/errors.ts";

export interface CertificateOptions {
  /** The subject; nobody checks it, people read it. Letters, digits, spaces, dots and hyphens. */
  commonName: string;
  /** The private key, PKCS#8 PEM: Ed25519 or P-256. */
  keyPem: string;
  /** Valid for this long from now. */
  days: number;
}

const dayMs = 86_400_000;

/**
 * Makes a self-signed certificate, PEM. VeriPy pins keys, so its names and dates bind nobody here; they are
 * filled in so that other TLS libraries can be told to trust this very certificate and be content with it.
 * Throws `bad_identity` for a key of another kind.
 */
export async function makeCertificate({ commonName, keyPem, days }: CertificateOptions): Promise<string> {
  const privateKey = createPrivateKey(keyPem);
  const algorithm = algorithmOf(privateKey);
  // Loaded here and nowhere else: 230 KB that a start with an existing identity does not pay for.
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
      // A day back: the other machine's clock may be behind.
      notBefore: new Date(now - dayMs),
      notAfter: new Date(now + days * dayMs),
      signingAlgorithm: algorithm,
      keys: { privateKey: signingKey, publicKey },
      extensions: [
        // No key usage beside it: with one that does not sign certificates, TLS libraries don't take this for the
        // self-signed certificate that it is, and look for its issuer on the disk in every handshake.
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
  throw new VeripyError("bad_identity", `Cannot use a key of the kind '${kind}': use Ed25519 or P-256.`);
}

/** 127 random bits: RFC 5280 wants a positive integer of at most 20 octets. */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
