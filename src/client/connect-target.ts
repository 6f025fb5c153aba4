import { type Fingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { type Identity, loadIdentity } from "../identity/identity.ts";
import { resolveServerPin } from "../trust/known-servers.ts";
import type { ConnectOptions } from "./connect-options.ts";

/** Where to connect, as whom, and which key must be there. */
export interface ConnectTarget {
  readonly host: string;
  readonly port: number;
  readonly certsDir: string;
  readonly identity: Identity;
  readonly confirmServer: ConnectOptions["confirmServer"];
  /** Empty: nothing names a key yet. */
  expected: readonly Fingerprint[];
  /** What names them: see `ServerPin`. Empty when nothing does. */
  source: string;
  /** A key that the server has announced and that is in no file, since none could be written. */
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
 * The target as the files say now, for another connection: this client's key, and the server's, may have been
 * rotated meanwhile. As it was, when the files cannot be read.
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
