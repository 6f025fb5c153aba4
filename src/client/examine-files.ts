import { X509Certificate } from "node:crypto";
import { readLock } from "../approvals/lock-file.ts";
import { checkClientFiles, refuseWorldWritable } from "../base/file-modes.ts";
import { isThere } from "../base/files.ts";
import { parseFingerprint } from "../identity/fingerprint.ts";
import { type Identity, identityFiles, loadIdentity } from "../identity/identity.ts";
import { readKnownServers, resolveServerPin, serverName } from "../trust/known-servers.ts";
import { trustServerCommand } from "../trust/server-pin-advice.ts";
import { lockPath } from "./approval-files.ts";
import { type Finding, fault, ok, warning } from "./finding.ts";

/** A certificate that expires within this time is a warning. */
const soonMs = 30 * 86_400_000;

export async function examineHome(home: string): Promise<Finding> {
  try {
    await refuseWorldWritable(home);
    return ok("home", (await isThere(home)) ? home : `${home} (it does not exist yet)`);
  } catch (error) {
    return fault("home", error);
  }
}

/** The lock in use and that of the home, whose denials always hold. */
export async function examineLocks(home: string, lock: string | undefined): Promise<Finding[]> {
  const homeLock = lockPath(home);
  const findings = lock === undefined ? [ok("lock", "none is used")] : [await examineLock(lock)];
  if (lock !== homeLock && (await isThere(homeLock).catch(() => true)))
    findings.push(await examineLock(homeLock));
  return findings;
}

async function examineLock(file: string): Promise<Finding> {
  try {
    await refuseWorldWritable(file);
    const lock = await readLock(file);
    if (lock === undefined) return ok("lock", `${file} (it does not exist yet: nothing is approved)`);
    const servers = Object.values(lock.servers);
    const modules = servers.flatMap((one) => Object.keys(one.modules ?? {}));
    return ok("lock", `${file} (servers: ${servers.length}, approved modules: ${modules.length})`);
  } catch (error) {
    return fault("lock", error, "Restore the file, or delete it and approve again: veripy-client approve");
  }
}

/** The files that say which servers are trusted. */
export async function examineCertsFolder(certsDir: string): Promise<Finding[]> {
  try {
    const warnings = await checkClientFiles(certsDir);
    return warnings.length === 0 ? [ok("files", certsDir)] : warnings.map((text) => warning("files", text));
  } catch (error) {
    return [fault("files", error)];
  }
}

export interface KeyExamination {
  readonly findings: readonly Finding[];
  /** Undefined if it can't be used. */
  readonly identity: Identity | undefined;
}

/** This client's key and certificate: there, kept from others, a pair, and valid. */
export async function examineKey(certsDir: string, now = Date.now()): Promise<KeyExamination> {
  try {
    const identity = await loadIdentity(certsDir, "client");
    const findings = [ok("key", identity.fingerprint), validityOf(identity, now)];
    if (await isThere(identityFiles(certsDir, "client", ".next").key))
      findings.push(
        warning("key", "A rotation was begun and not finished. To finish it, type: veripy-client rotate"),
      );
    return { findings, identity };
  } catch (error) {
    return { findings: [fault("key", error)], identity: undefined };
  }
}

function validityOf({ certificatePem, notAfter }: Identity, now: number): Finding {
  const { validFromDate } = new X509Certificate(certificatePem);
  const until = `its certificate is valid until ${day(notAfter)}`;
  if (validFromDate.getTime() > now) {
    return warning(
      "key",
      `Its certificate is valid only from ${day(validFromDate)}. Is this machine's clock right? It says ${day(new Date(now))}. See: date`,
    );
  }
  if (notAfter.getTime() - now < soonMs)
    return warning(
      "key",
      `The certificate expires on ${day(notAfter)}. For a new one, type: veripy-client renew`,
    );
  return ok("key", until);
}

export interface TrustQuery {
  readonly certsDir: string;
  readonly host: string;
  readonly port: number;
  readonly serverFingerprint: string | undefined;
}

/** The servers that are known, and which key is expected from this one. */
export async function examineTrust({
  certsDir,
  host,
  port,
  serverFingerprint,
}: TrustQuery): Promise<Finding[]> {
  const name = serverName(host, port);
  const findings: Finding[] = [];
  try {
    const known = [...(await readKnownServers(certsDir)).keys()];
    findings.push(
      ok("hosts", known.length === 0 ? "no known servers" : `known servers: ${known.join(", ")}`),
    );
    const fingerprintOption =
      serverFingerprint === undefined ? undefined : parseFingerprint(serverFingerprint);
    const pin = await resolveServerPin({
      certsDir,
      host,
      port,
      ...(fingerprintOption === undefined ? {} : { fingerprintOption }),
    });
    if (pin === undefined) {
      const command = trustServerCommand(certsDir, name, "FINGERPRINT");
      findings.push(
        warning(
          "trust",
          `Nothing says which key ${name} must show. Type 'veripy-server fingerprint' there, and here: ${command}`,
        ),
      );
    } else findings.push(ok("trust", `${name} must show ${pin.fingerprints.join(" or ")} (${pin.source})`));
  } catch (error) {
    findings.push(fault("trust", error));
  }
  return findings;
}

export function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
