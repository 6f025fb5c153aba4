import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeCertificate } from "../../src/identity/certificate.ts";
import { fingerprintOfX509 } from "../../src/identity/fingerprint.ts";
import { type Identity, loadIdentity } from "../../src/identity/identity.ts";
import type { Site } from "./site.ts";

export interface NewIdentityOptions {
  readonly kind?: "ed25519" | "p256";
  /** A negative number makes a certificate that has expired. */
  readonly days?: number;
}

/** A key and a certificate that are not in any file. */
export async function newIdentity(
  commonName = "veripy test",
  { kind = "ed25519", days = 30 }: NewIdentityOptions = {},
): Promise<Identity> {
  const { privateKey } =
    kind === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const certificatePem = await makeCertificate({ commonName, keyPem, days });
  const certificate = new X509Certificate(certificatePem);
  return {
    keyPem,
    certificatePem,
    fingerprint: fingerprintOfX509(certificate),
    notAfter: new Date(certificate.validTo),
  };
}

/** The trusted client that `veripy-server init` created. */
export function clientOf(site: Site): Promise<Identity> {
  return loadIdentity(join(site.path, "certs"), "client");
}

export type TrustEntry = string | Record<string, unknown>;

/** The text of a `trusted-keys.json`. */
export function trustText(...entries: readonly TrustEntry[]): string {
  return JSON.stringify({ trusted_fingerprints: entries });
}

/** The entries of a `trusted-keys.json`. */
export function trustEntries(text: string): TrustEntry[] {
  return (JSON.parse(text) as { trusted_fingerprints: TrustEntry[] }).trusted_fingerprints;
}

/** Adds entries to the site's `trusted-keys.json`, replacing the file in one step. */
export async function trust(site: Site, ...entries: readonly TrustEntry[]): Promise<void> {
  const path = join(site.path, "trusted-keys.json");
  const trusted = trustEntries(await readFile(path, "utf8"));
  await writeFile(`${path}.new`, trustText(...trusted, ...entries));
  await rename(`${path}.new`, path);
}
