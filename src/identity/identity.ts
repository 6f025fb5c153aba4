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

/** Which of an end's keys: the one in use, the one that is to follow it, or the one before. See `rotation-files.ts`. */
export type Generation = "" | ".next" | ".old";

/** One end's own key and certificate, ready for TLS. */
export interface Identity {
  /** PKCS#8 PEM. Never log it. */
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly fingerprint: Fingerprint;
  /** When the certificate expires. */
  readonly notAfter: Date;
}

const validDays = 3_650;
/** A key or a certificate with its chain is a few KiB. */
const maxPemBytes = 64 * 1024;

/**
 * Reads `<dir>/<role>.key` and `<dir>/<role>.crt`. Throws `bad_identity`, with what to do next, when one is
 * missing, unreadable, of an unknown kind, readable by others (the key) or expired (the certificate), or when the
 * two do not belong together.
 */
export async function loadIdentity(dir: string, role: Role, generation: Generation = ""): Promise<Identity> {
  const files = identityFiles(dir, role, generation);
  const key = await readKeyFile(files.key);
  const certificatePem = await readCertificate(files.certificate);
  if (key === undefined && certificatePem === undefined) {
    throw new VeripyError(
      "bad_identity",
      `Cannot find the ${role}'s identity: there is no ${files.key}. 'veripy-${role} init' makes one.`,
    );
  }
  if (key === undefined) throw keyGone(files);
  if (certificatePem === undefined) {
    throw new VeripyError(
      "bad_identity",
      `Cannot find the ${role}'s certificate: there is ${files.key}, but no ${files.certificate}. ` +
        `'veripy-${role} renew' makes one for that key.`,
    );
  }
  if (generation !== "" || belongTogether(key, certificatePem)) {
    return checkIdentity(key, certificatePem, files, role);
  }
  const pair = await pairInRotation(dir, role, key, certificatePem);
  return checkIdentity(pair.key, pair.certificatePem, files, role);
}

/** Key and certificate are two files, which a rotation renames one after the other: what belongs together then. */
async function pairInRotation(
  dir: string,
  role: Role,
  key: PrivateKey,
  certificatePem: string,
): Promise<{ key: PrivateKey; certificatePem: string }> {
  // Stopped between the two: the new key is in its place already.
  const waiting = await readCertificate(identityFiles(dir, role, ".next").certificate);
  if (waiting !== undefined && belongTogether(key, waiting)) return { key, certificatePem: waiting };
  // Or both came between our reading of the key and of the certificate.
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
 * Loads the identity, or makes what is missing: key and certificate, or the certificate for a key that is
 * there. A certificate without its key is an error, since a new key would be somebody else to every peer.
 * `created` tells whether anything was made. Two processes may do this at once; both get the same identity.
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
    // Another process may be between its two writes, in which the key comes first.
    if (await exists(files.key)) return load();
    throw keyGone(files);
  }
  // Not having made it is as good: another process has.
  if (!hasKey) await makeKeyFile(files.key);
  return { identity: await certify(dir, role, generation), created: true };
}

/** Makes a new certificate for the key that is there. The fingerprint stays, so no peer has to be told. */
export async function renewCertificate(dir: string, role: Role): Promise<Identity> {
  const files = identityFiles(dir, role);
  if (!(await exists(files.key))) {
    throw new VeripyError(
      "bad_identity",
      `Cannot renew the ${role}'s certificate: there is no ${files.key}. 'veripy-${role} init' makes one.`,
    );
  }
  return certify(dir, role);
}

/** Where an identity lives. */
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
      `Cannot read the certificate ${files.certificate}: it is not one in PEM form. ` +
        `'veripy-${role} renew' makes a new one for ${files.key}.`,
      { cause: error },
    );
  }
  if (!certificate.checkPrivateKey(key.object)) {
    throw new VeripyError(
      "bad_identity",
      `Cannot use ${files.certificate} with ${files.key}: they do not belong together. ` +
        `Put back the right one, or make a certificate for that key with 'veripy-${role} renew'.`,
    );
  }
  const notAfter = new Date(certificate.validTo);
  if (notAfter.getTime() <= Date.now()) {
    throw new VeripyError(
      "bad_identity",
      `Cannot use the certificate ${files.certificate}: it expired on ${notAfter.toISOString().slice(0, 10)}. ` +
        `'veripy-${role} renew' makes a new one for the same key; nobody else has to change anything.`,
    );
  }
  return { keyPem: key.pem, certificatePem, fingerprint: fingerprintOfX509(certificate), notAfter };
}

function keyGone({ key, certificate }: IdentityFiles): VeripyError {
  return new VeripyError(
    "bad_identity",
    `Cannot use ${certificate}: its key ${key} is gone. Put the key back; or remove the certificate to get a ` +
      "new identity, which every peer then has to be told of.",
  );
}

async function exists(path: string): Promise<boolean> {
  return isThere(path).catch((error) => {
    throw identityError(`Cannot read ${path}`, error);
  });
}
