import { loggerOf } from "../base/log.ts";
import { type Fingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { type Identity, loadIdentity } from "../identity/identity.ts";
import { resolveServerPin, serverName } from "../trust/known-servers.ts";
import type { ConnectOptions } from "./connect-options.ts";

const log = loggerOf("client");

/** Where to connect, with which key, and which key the server must show. */
export interface ConnectTarget {
  readonly host: string;
  readonly port: number;
  readonly certsDir: string;
  readonly identity: Identity;
  readonly confirmServer: ConnectOptions["confirmServer"];
  /** The keys that are accepted. Empty when nothing names one yet. */
  expected: readonly Fingerprint[];
  /** Where they come from: see `ServerPin`. Empty when nothing names a key. */
  source: string;
  /** A key that the server has announced, but that could not be written to a file. */
  unkept?: Fingerprint;
  /** The key that the server showed at the last handshake. */
  seenFingerprint?: Fingerprint;
}

export async function resolveTarget(
  options: ConnectOptions & { host: string; port: number; certsDir: string },
): Promise<ConnectTarget> {
  const { host, port, certsDir } = options;
  const identity = options.identity ?? (await loadIdentity(certsDir, "client"));
  const fingerprintOption =
    options.serverFingerprint === undefined ? undefined : parseFingerprint(options.serverFingerprint);
  const pin = await resolveServerPin({
    certsDir,
    host,
    port,
    ...(fingerprintOption === undefined ? {} : { fingerprintOption }),
  });
  log.debug("This client's key is {fingerprint}.", { fingerprint: identity.fingerprint });
  if (pin === undefined) log.debug("No file names the key of {server}.", { server: serverName(host, port) });
  else
    log.debug("{source} names the key of {server}: {expected}.", {
      source: pin.source,
      server: serverName(host, port),
      expected: pin.fingerprints,
    });
  return {
    host,
    port,
    certsDir,
    identity,
    expected: pin?.fingerprints ?? [],
    source: pin?.source ?? "",
    confirmServer: options.confirmServer,
  };
}

/**
 * Reads the target's keys again before another connection, because this client's key or the server's may have been rotated
 * meanwhile. Returns the target unchanged when the files can't be read.
 */
export async function refreshTarget(target: ConnectTarget, options: ConnectOptions): Promise<ConnectTarget> {
  const { host, port, certsDir, unkept } = target;
  try {
    const resolved = await resolveTarget({ ...options, host, port, certsDir });
    const seen = target.seenFingerprint;
    const fresh = { ...resolved, ...(seen === undefined ? {} : { seenFingerprint: seen }) };
    if (fresh.expected.length === 0) return { ...fresh, expected: target.expected, source: target.source };
    if (unkept === undefined || fresh.expected.includes(unkept)) return fresh;
    return { ...fresh, expected: [...fresh.expected, unkept], unkept };
  } catch {
    return target;
  }
}
