import { isIP } from "node:net";
import { join } from "node:path";
import { messageOf, VeripyError } from "../base/errors.ts";
import { withFileLock } from "../base/file-lock.ts";
import { checkClientFiles } from "../base/file-modes.ts";
import { readTextIfThere, writeFileAtomic } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { parseStrictJson } from "../base/strict-json.ts";
import { type Fingerprint, fingerprintOfCertificate, parseFingerprint } from "../identity/fingerprint.ts";
import { howToTrustInstead, pinnedByOption } from "./server-pin-advice.ts";

/** The keys that each server may have, by `host:port` as returned by `serverName`. */
export type KnownServers = ReadonlyMap<string, readonly Fingerprint[]>;

export interface ServerPin {
  /** Never empty. More than one while a server is rotating its key. */
  readonly fingerprints: readonly Fingerprint[];
  /** Where they come from: a path, or `pinnedByOption`. */
  readonly source: string;
}

const maxFileBytes = 4 * 1024 * 1024;
const maxCertificateBytes = 64 * 1024;
const fileName = "known-servers.json";

/** `host:port`, with the host in lower case and an IPv6 address in brackets. */
export function serverName(host: string, port: number): string {
  const plain = host.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  return isIP(plain) === 6 ? `[${plain}]:${port}` : `${plain}:${port}`;
}

/**
 * The key that the server must have: that of `<certsDir>/server.crt` if it exists, else that of its entry in
 * `<certsDir>/known-servers.json`, else the option; undefined when there is none. Throws `bad_config` when the option
 * contradicts a file, and for an invalid file; `bad_identity` when every user may write to one of the files or the
 * directory.
 */
export async function resolveServerPin(options: {
  certsDir: string;
  host: string;
  port: number;
  fingerprintOption?: Fingerprint;
}): Promise<ServerPin | undefined> {
  const { certsDir, host, port, fingerprintOption } = options;
  await checkClientFiles(certsDir);
  const pin = (await certificatePin(certsDir)) ?? (await knownPin(certsDir, host, port));
  if (fingerprintOption === undefined) return pin;
  if (pin === undefined) return { fingerprints: [fingerprintOption], source: pinnedByOption };
  if (pin.fingerprints.includes(fingerprintOption)) return pin;
  const name = serverName(host, port);
  const advice = await howToTrustInstead({ certsDir, name, source: pin.source }, fingerprintOption);
  throw new VeripyError(
    "bad_config",
    `Cannot tell which key to expect from ${name}: ${pin.source} says ${pin.fingerprints.join(" or ")}, ` +
      `but ${pinnedByOption} says ${fingerprintOption}. If the file is right, omit the option. ${advice}`,
  );
}

/**
 * Parses `known-servers.json`: `{"host:port": "fingerprint" | ["fingerprint", …]}`. Throws `bad_config`, with line and
 * column or the JSON path, for anything else.
 */
export function parseKnownServers(text: string, file = fileName): KnownServers {
  const { value } = parseStrictJson(text, file);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new VeripyError("bad_config", `${file}: must be a JSON object of "host:port": "fingerprint".`);
  }
  const servers = new Map<string, readonly Fingerprint[]>();
  for (const [name, pinned] of Object.entries(value)) {
    const path = `${file}: [${JSON.stringify(name)}]`;
    const canonical = canonicalName(name);
    if (canonical === undefined) {
      throw new VeripyError("bad_config", `${path}: must be host:port, with an IPv6 address in brackets.`);
    }
    if (servers.has(canonical))
      throw new VeripyError("bad_config", `${path}: the same server has an entry above.`);
    const list = Array.isArray(pinned) ? pinned : [pinned];
    if (list.length === 0) throw new VeripyError("bad_config", `${path}: must contain a fingerprint.`);
    servers.set(
      canonical,
      list.map((item, index) => fingerprintAt(item, Array.isArray(pinned) ? `${path}[${index}]` : path)),
    );
  }
  return servers;
}

export function knownServersFile(certsDir: string): string {
  return join(certsDir, fileName);
}

/** Reads `<certsDir>/known-servers.json`. No server is known when the file does not exist. */
export async function readKnownServers(certsDir: string): Promise<KnownServers> {
  const path = knownServersFile(certsDir);
  let text: string | undefined;
  try {
    text = await readTextIfThere(path, maxFileBytes);
  } catch (error) {
    throw new VeripyError("bad_identity", `Cannot read ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  return text === undefined ? new Map() : parseKnownServers(text, path);
}

/** Replaces the keys of a server by one key. */
export function keepKnownServer(
  certsDir: string,
  host: string,
  port: number,
  fingerprint: Fingerprint,
): Promise<void> {
  return setKnownServer(certsDir, host, port, [fingerprint]);
}

/** Replaces the keys of a server. There are several while it is rotating its key. An empty list removes the server. */
export async function setKnownServer(
  certsDir: string,
  host: string,
  port: number,
  fingerprints: readonly Fingerprint[],
): Promise<void> {
  const path = knownServersFile(certsDir);
  const name = serverName(host, port);
  // Otherwise the file would become invalid.
  if (canonicalName(name) === undefined) {
    throw new VeripyError("bad_config", `Cannot save the key of '${name}': that is not a host and port.`);
  }
  try {
    await withFileLock(path, async () => {
      await checkClientFiles(certsDir);
      const servers = new Map(await readKnownServers(certsDir));
      if (fingerprints.length === 0) servers.delete(name);
      else servers.set(name, fingerprints);
      const entries = [...servers].map(([key, list]) => [key, list.length === 1 ? list[0] : list]);
      await writeFileAtomic(path, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
    });
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    throw new VeripyError("bad_identity", `Cannot save the key of ${name} in ${path}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
}

/** The key of `<certsDir>/server.crt`, which takes precedence; undefined when the file does not exist. */
export async function certificatePin(certsDir: string): Promise<ServerPin | undefined> {
  const source = join(certsDir, "server.crt");
  try {
    const pem = await readTextIfThere(source, maxCertificateBytes);
    return pem === undefined ? undefined : { fingerprints: [fingerprintOfCertificate(pem)], source };
  } catch (error) {
    throw new VeripyError("bad_identity", `Cannot use ${source}: ${reasonOf(error)}.`, { cause: error });
  }
}

async function knownPin(certsDir: string, host: string, port: number): Promise<ServerPin | undefined> {
  const fingerprints = (await readKnownServers(certsDir)).get(serverName(host, port));
  return fingerprints === undefined ? undefined : { fingerprints, source: knownServersFile(certsDir) };
}

function canonicalName(name: string): string | undefined {
  const [, host = "", port] = /^(\[[0-9A-Fa-f:.]+(?:%[^\s[\]]+)?\]|[^\s:[\]]+):(\d{1,5})$/.exec(name) ?? [];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined;
  if (host.startsWith("[") && isIP(host.slice(1, -1)) !== 6) return undefined;
  return serverName(host, Number(port));
}

function fingerprintAt(value: unknown, path: string): Fingerprint {
  try {
    if (typeof value === "string") return parseFingerprint(value);
  } catch (error) {
    throw new VeripyError("bad_config", `${path}: ${messageOf(error)}`, { cause: error });
  }
  throw new VeripyError("bad_config", `${path}: must be a fingerprint.`);
}
