import { VeripyError } from "../base/errors.ts";
import { type Fingerprint, parseFingerprint } from "../identity/fingerprint.ts";
import { type Identity, loadIdentity } from "../identity/identity.ts";
import { keepKnownServer, resolveServerPin } from "../identity/known-servers.ts";
import { connectTls, UntrustedServerError } from "../tls/connector.ts";
import type { Peer } from "../tls/peer.ts";
import type { ConnectOptions } from "./client.ts";

/** Where to connect, as whom, and which key must be there. */
export interface ConnectTarget {
  readonly host: string;
  readonly port: number;
  readonly certsDir: string;
  readonly identity: Identity;
  readonly confirmServer: ConnectOptions["confirmServer"];
  /** Empty: nothing names a key yet. */
  expected: readonly Fingerprint[];
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
    if (fresh.expected.length === 0) return { ...fresh, expected: target.expected };
    if (unkept === undefined || fresh.expected.includes(unkept)) return fresh;
    return { ...fresh, expected: [...fresh.expected, unkept], unkept };
  } catch {
    return target;
  }
}

/**
 * One TLS connection to the target. A server whose key nothing names is shown to `confirmServer`: a first
 * handshake, broken off before our certificate is sent, learns the key; the second insists on it.
 */
export async function dial(target: ConnectTarget, timeoutMs: number, signal: AbortSignal): Promise<Peer> {
  try {
    const peer = await connectTls({
      host: target.host,
      port: target.port,
      identity: target.identity,
      isExpected: (fingerprint) => target.expected.includes(fingerprint),
      timeoutMs,
      signal,
    });
    target.seenFingerprint = peer.fingerprint;
    return peer;
  } catch (error) {
    if (!(error instanceof UntrustedServerError) || target.expected.length > 0) throw error;
    await confirm(target, error);
    return dial(target, timeoutMs, signal);
  }
}

async function confirm(target: ConnectTarget, { fingerprint }: UntrustedServerError): Promise<void> {
  const { host, port, certsDir } = target;
  if (!(await target.confirmServer?.(fingerprint))) {
    throw new VeripyError(
      "untrusted",
      `Nothing says which key ${host}:${port} must show. It showed ${fingerprint}. Compare that with ` +
        "'veripy-server fingerprint' on the server; if it is the same, give it as --server-fingerprint.",
    );
  }
  await keepKnownServer(certsDir, host, port, fingerprint);
  target.expected = [fingerprint];
}
