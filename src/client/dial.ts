import { VeripyError } from "../base/errors.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { BrokenHandshakeError, connectTls, UntrustedServerError } from "../tls/connector.ts";
import type { Peer } from "../tls/peer.ts";
import { keepKnownServer, knownServersFile, serverName } from "../trust/known-servers.ts";
import { trustServerCommand } from "../trust/server-pin-advice.ts";
import type { ConnectTarget } from "./connect-target.ts";
import { pause } from "./repeat.ts";
import { wrongServerKey } from "./wrong-server-key.ts";

/**
 * One TLS connection to the target. A server whose key nothing names is shown to `confirmServer`: a first
 * handshake, broken off before our certificate is sent, learns the key; the second insists on it.
 */
export async function dial(target: ConnectTarget, timeoutMs: number, signal: AbortSignal): Promise<Peer> {
  try {
    const peer = await dialAgain(target, timeoutMs, signal);
    target.seenFingerprint = peer.fingerprint;
    return peer;
  } catch (error) {
    if (!(error instanceof UntrustedServerError)) throw error;
    if (target.expected.length > 0) throw await wrongServerKey(target, error);
    await confirm(target, error);
    return dial(target, timeoutMs, signal);
  }
}

const maxTries = 3;

/**
 * A server that many clients reach for at once, as after its restart, closes some of their connections before the
 * handshake. Those try again, each at a moment of its own, as long as the deadline leaves time for it. The pauses are
 * as long as the failed try took, up to twice that, and then twice as long: such a server takes its time to refuse.
 */
async function dialAgain(target: ConnectTarget, timeoutMs: number, signal: AbortSignal): Promise<Peer> {
  const { host, port, identity } = target;
  const isExpected = (fingerprint: Fingerprint) => target.expected.includes(fingerprint);
  const deadline = performance.now() + timeoutMs;
  for (let tries = 1; ; tries++) {
    const startedAt = performance.now();
    const leftMs = tries === 1 ? timeoutMs : Math.ceil(deadline - startedAt);
    try {
      return await connectTls({ host, port, identity, isExpected, timeoutMs: leftMs, signal });
    } catch (error) {
      if (!(error instanceof BrokenHandshakeError) || tries === maxTries) throw error;
      const now = performance.now();
      const pauseMs = (now - startedAt) * tries * (1 + Math.random());
      if (now + pauseMs >= deadline) throw error;
      // The caller of `close()` learns of nothing but that.
      await pause(pauseMs, signal).catch(() => {
        throw error;
      });
    }
  }
}

async function confirm(target: ConnectTarget, { fingerprint }: UntrustedServerError): Promise<void> {
  const { host, port, certsDir } = target;
  if (!(await target.confirmServer?.(fingerprint))) {
    const name = serverName(host, port);
    throw new VeripyError(
      "untrusted",
      `Nothing says which key ${name} must show. It showed ${fingerprint}. Compare that with ` +
        "'veripy-server fingerprint' on the server; if it is the same, give it as --server-fingerprint, or type: " +
        trustServerCommand(certsDir, name, fingerprint),
    );
  }
  await keepKnownServer(certsDir, host, port, fingerprint);
  target.expected = [fingerprint];
  target.source = knownServersFile(certsDir);
}
