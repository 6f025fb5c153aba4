import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { VeripyError } from "../base/errors.ts";
import { isThere, readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { makeCertificate } from "./certificate.ts";
import { type Fingerprint, fingerprintOfX509 } from "./fingerprint.ts";
import { identityError } from "./identity-error.ts";
import { makeKeyFile, type PrivateKey, readKeyFile } from "./key-file.ts";

export type Role = "server" | "client";

/** The key in use, the next one, or the previous one. See `next-identity.ts`. */
export type Generation = "" | ".next" | ".old";

/** The local key and certificate, ready for TLS. */
export interface Identity {
  /** PKCS#8 PEM. Never log it. */
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly fingerprint: Fingerprint;
  /** When the certificate expires. */
  readonly notAfter: Date;
}

const validDays = 3_650;
/** A certificate with its chain takes a few KiB. */
const maxPemBytes = 64 * 1024;

/**
 * Reads `<dir>/<role>.key` and `<dir>/<role>.crt`. Throws `bad_identity`, with what to do, when one of them is missing,
 * unreadable or of an unknown type, when others have access to the key, when the certificate has expired, or when the
 * two don't match.
 */
export async function loadIdentity(dir: string, role: Role, generation: Generation = ""): Promise<Identity> {
  const files = identityFiles(dir, role, generation);
  const key = await readKeyFile(files.key);
  const certificatePem = await readCertificate(files.certificate);
  if (key === undefined && certificatePem === undefined) {
    throw new VeripyError(
      "bad_identity",
      `Cannot find the ${role}'s identity: there is no ${files.key}. Run 'veripy-${role} init' to create one.`,
    );
  }
  if (key === undefined) throw keyGone(files);
  if (certificatePem === undefined) {
    throw new VeripyError(
      "bad_identity",
      `Cannot find the ${role}'s certificate: ${files.key} exists, but ${files.certificate} does not. ` +
        `'veripy-${role} renew' makes a certificate for that key.`,
    );
  }
  if (generation !== "" || belongTogether(key, certificatePem)) {
    return checkIdentity(key, certificatePem, files, role);
  }
  const pair = await pairInRotation(dir, role, key, certificatePem);
  return checkIdentity(pair.key, pair.certificatePem, files, role);
}

/** Key and certificate are two files, which a rotation renames one after the other. Finds a matching pair meanwhile. */
async function pairInRotation(
  dir: string,
  role: Role,
  key: PrivateKey,
  certificatePem: string,
): Promise<{ key: PrivateKey; certificatePem: string }> {
  // The rotation was interrupted between the two: the new key is already in place.
  const waiting = await readCertificate(identityFiles(dir, role, ".next").certificate);
  if (waiting !== undefined && belongTogether(key, waiting)) return { key, certificatePem: waiting };
  // Or both were renamed after the key and before the certificate was read.
  return { key: (await readKeyFile(identityFiles(dir, role).key)) ?? key, certificatePem };
}

function belongTogether(key: PrivateKey, pem: string): boolean {
  try {
    return new X509Certificate(pem).checkPrivateKey(key.object);
  } catch {
    return false;
  }
}

/**
 * Loads the identity, or makes what is missing: both files, or the certificate for an existing key. A certificate
 * without its key is an error, because with a new key no peer would recognize this one. `created` says whether anything
 * was made. Two processes may call this at once; both get the same identity.
 */
export async function loadOrCreateIdentity(
  dir: string,
  role: Role,
  generation: Generation = "",
): Promise<{ identity: Identity; created: boolean }> {
  const files = identityFiles(dir, role, generation);
  const load = async () => ({ identity: await loadIdentity(dir, role, generation), created: false });
  const [hasKey, hasCertificate] = [await exists(files.key), await exists(files.certificate)];
  if (hasKey && hasCertificate) return load();
  if (!hasKey && hasCertificate) {
    // Another process may have written both in between; it writes the key first.
    if (await exists(files.key)) return load();
    throw keyGone(files);
  }
  // If this makes no key, another process has just made one.
  if (!hasKey) await makeKeyFile(files.key);
  return { identity: await certify(dir, role, generation), created: true };
}

/** Makes a new certificate for the existing key. The fingerprint is unchanged, so peers need not be told. */
export async function renewCertificate(dir: string, role: Role): Promise<Identity> {
  const files = identityFiles(dir, role);
  if (!(await exists(files.key))) {
    throw new VeripyError(
      "bad_identity",
      `Cannot renew the ${role}'s certificate: there is no ${files.key}. Run 'veripy-${role} init' to create one.`,
    );
  }
  return certify(dir, role);
}

/** The paths of an identity's files. */
export function identityFiles(
  dir: string,
  role: Role,
  generation: Generation = "",
): { key: string; certificate: string } {
  return {
    key: join(dir, `${role}.key${generation}`),
    certificate: join(dir, `${role}.crt${generation}`),
  };
}

async function certify(dir: string, role: Role, generation: Generation = ""): Promise<Identity> {
  const files = identityFiles(dir, role, generation);
  const key = await readKeyFile(files.key);
  if (key === undefined) throw keyGone(files);
  const certificate = await makeCertificate({
    commonName: `veripy ${role}`,
    keyPem: key.pem,
    days: validDays,
  });
  await writeFileAtomic(files.certificate, certificate).catch((error) => {
    throw identityError(`Cannot write ${files.certificate}`, error);
  });
  return checkIdentity(key, certificate, files, role);
}

interface IdentityFiles {
  readonly key: string;
  readonly certificate: string;
}

async function readCertificate(path: string): Promise<string | undefined> {
  try {
    return await readTextIfThere(path, maxPemBytes);
  } catch (error) {
    throw new VeripyError("bad_identity", `Cannot read the certificate ${path}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
}

function checkIdentity(key: PrivateKey, certificatePem: string, files: IdentityFiles, role: Role): Identity {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(certificatePem);
  } catch (error) {
    throw new VeripyError(
      "bad_identity",
      `Cannot read the certificate ${files.certificate}: it is not in PEM form. ` +
        `'veripy-${role} renew' makes a new one for ${files.key}.`,
      { cause: error },
    );
  }
  if (!certificate.checkPrivateKey(key.object)) {
    throw new VeripyError(
      "bad_identity",
      `Cannot use ${files.certificate} with ${files.key}: they do not match. ` +
        `Restore the right file, or run 'veripy-${role} renew' to make a certificate for that key.`,
    );
  }
  const notAfter = new Date(certificate.validTo);
  if (notAfter.getTime() <= Date.now()) {
    throw new VeripyError(
      "bad_identity",
      `Cannot use the certificate ${files.certificate}: it expired on ${notAfter.toISOString().slice(0, 10)}. ` +
        `'veripy-${role} renew' makes a new one for the same key, so nothing else has to change.`,
    );
  }
  return { keyPem: key.pem, certificatePem, fingerprint: fingerprintOfX509(certificate), notAfter };
}

function keyGone({ key, certificate }: IdentityFiles): VeripyError {
  return new VeripyError(
    "bad_identity",
    `Cannot use ${certificate}: its key ${key} is missing. Restore the key, or delete the certificate to get a ` +
      "new identity, which every peer must then be told to trust.",
  );
}

async function exists(path: string): Promise<boolean> {
  return isThere(path).catch((error) => {
    throw identityError(`Cannot read ${path}`, error);
  });
}
