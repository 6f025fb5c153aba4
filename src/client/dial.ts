import { VeripyError } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { BrokenHandshakeError, connectTls, UntrustedServerError } from "../tls/connector.ts";
import type { Peer } from "../tls/peer.ts";
import { keepKnownServer, knownServersFile, serverName } from "../trust/known-servers.ts";
import { trustServerCommand } from "../trust/server-pin-advice.ts";
import type { ConnectTarget } from "./connect-target.ts";
import { pause } from "./repeat.ts";
import { wrongServerKey } from "./wrong-server-key.ts";

const log = loggerOf("client");

/**
 * Makes one TLS connection to the target. When nothing names the server's key, a first handshake learns it and is broken
 * off before this client's certificate is sent; `confirmServer` decides, and a second handshake requires that key.
 */
export async function dial(target: ConnectTarget, timeoutMs: number, signal: AbortSignal): Promise<Peer> {
  try {
    const peer = await dialAgain(target, timeoutMs, signal);
    target.seenFingerprint = peer.fingerprint;
    log.debug("The server has the expected key {fingerprint}.", { fingerprint: peer.fingerprint });
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
 * When many clients connect at once, for example after a restart, the server closes some connections before the handshake.
 * Those are tried again within the deadline. The pause is one to two times as long as the failed attempt took, doubled the
 * next time, because an overloaded server is slow to refuse.
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
      // Aborted by `close()`, which has its own error.
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
      `Nothing says which key ${name} must show. It showed ${fingerprint}. Compare that with the output of ` +
        "'veripy-server fingerprint' on the server. If they are equal, pass it as --server-fingerprint, or run: " +
        trustServerCommand(certsDir, name, fingerprint),
    );
  }
  await keepKnownServer(certsDir, host, port, fingerprint);
  target.expected = [fingerprint];
  target.source = knownServersFile(certsDir);
}
