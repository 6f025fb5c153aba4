import { isIP } from "node:net";
import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { defaultLimits } from "../base/limits.ts";
import { loggerOf } from "../base/log.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import { plainAddress, socketAddress } from "./address.ts";
import { alpnList } from "./alpn.ts";
import { nothingThere, preciseError, whyNot } from "./connect-failure.ts";
import type { Peer } from "./peer.ts";
import { brokenBy, closeReasonOf, peerFingerprint, SocketPeer, tls13Only } from "./socket-peer.ts";
import { TcpDial, type Upgrade } from "./tcp-dial.ts";

const log = loggerOf("tls");

export interface ConnectTlsOptions {
  /** A name or an address; `localhost` is 127.0.0.1, and ::1 if nothing listens there. */
  host: string;
  port: number;
  identity: Identity;
  /** Whether the server may have this key. Called before the client's certificate is sent. */
  isExpected(fingerprint: Fingerprint): boolean;
  /** From the name lookup to the end of the handshake. */
  timeoutMs: number;
  maxQueuedBytes?: number;
  /** The ALPN name to request; none by default. */
  protocol?: string;
  /** Aborts the attempt with `closed`. Does nothing once the promise has settled. */
  signal?: AbortSignal;
}

/** The server has an unexpected key. It has not seen the client's certificate. */
export class UntrustedServerError extends VeripyError {
  /** The key that it has. */
  readonly fingerprint: Fingerprint;

  constructor(name: string, fingerprint: Fingerprint) {
    super(
      "untrusted",
      `Refused the server at ${name}: it has the key ${fingerprint}, which is not the expected one.`,
    );
    this.name = "UntrustedServerError";
    this.fingerprint = fingerprint;
  }
}

/** The connection was closed before the handshake was complete. The next attempt may succeed. */
export class BrokenHandshakeError extends VeripyError {
  constructor(name: string, cause: unknown) {
    super("unreachable", `Cannot connect to ${name}: it closed the connection during the handshake.`, {
      cause,
    });
    this.name = "BrokenHandshakeError";
  }
}

/** There was no answer in time: the server is down, or the network is slow. */
export class ConnectTimeoutError extends VeripyError {
  constructor(message: string) {
    super("unreachable", message);
    this.name = "ConnectTimeoutError";
  }
}

/**
 * Connects over TLS 1.3 to a server with an expected key. Rejects with `UntrustedServerError`, `BrokenHandshakeError`,
 * `unreachable` when there is no server, no answer in time or no TLS 1.3, or `closed` when `signal` is aborted. No socket
 * is left open after a failure. A server that does not accept the client's key closes the connection later, without a
 * message.
 */
export async function connectTls(options: ConnectTlsOptions): Promise<Peer> {
  const host = options.host.replace(/^\[(.*)\]$/, "$1");
  const addresses = host.toLowerCase() === "localhost" ? ["127.0.0.1", "::1"] : [host];
  const deadline = performance.now() + options.timeoutMs;
  let refused: unknown;
  for (const address of addresses) {
    try {
      return await new Attempt(options, address, Math.max(0, deadline - performance.now())).done;
    } catch (error) {
      // Try the other address only if nothing is listening: a server with the wrong key is an answer.
      if (!(error instanceof VeripyError) || !isSystemError(error.cause, ...nothingThere)) throw error;
      refused ??= error;
    }
  }
  throw refused;
}

/** One try at one address. */
class Attempt implements Expirable {
  readonly done: Promise<Peer>;
  peer: SocketPeer | undefined;
  readonly #options: ConnectTlsOptions;
  readonly #name: string;
  /** A name or an address. */
  readonly #hostname: string;
  readonly #timeoutMs: number;
  readonly #settle: { resolve(peer: Peer): void; reject(error: VeripyError): void };
  readonly #deadline: Deadline;
  readonly #startedAt = performance.now();
  #tcp: TcpDial | undefined;
  #socket: Bun.Socket<Attempt> | undefined;
  #isSettled = false;

  constructor(options: ConnectTlsOptions, hostname: string, timeoutMs: number) {
    this.#options = options;
    this.#name = socketAddress(options.host.replace(/^\[(.*)\]$/, "$1"), options.port);
    this.#timeoutMs = options.timeoutMs;
    this.#hostname = hostname;
    const { promise, ...settle } = Promise.withResolvers<Peer>();
    this.done = promise;
    this.#settle = settle;
    this.#deadline = deadlines.arm(this, timeoutMs);
    options.signal?.addEventListener("abort", this.#aborted, { once: true });
    if (options.signal?.aborted) this.#aborted();
    else this.#connect();
  }

  #connect(): void {
    try {
      this.#tcp = new TcpDial(this.#hostname, this.#options.port, this);
    } catch (error) {
      this.#fail(this.#unreachable(error));
    }
  }

  /** TCP is connected. */
  opened(upgrade: Upgrade): void {
    const { identity, protocol } = this.#options;
    try {
      this.#socket = upgrade<Attempt>({
        data: this,
        tls: {
          key: identity.keyPem,
          cert: identity.certificatePem,
          // Certificate authorities play no role: the key is checked when the handshake is complete.
          rejectUnauthorized: false,
          ...(isIP(this.#hostname) === 0 ? { serverName: this.#hostname } : {}),
          ...(protocol === undefined ? {} : { ALPNProtocols: alpnList(protocol) }),
          ...tls13Only,
        },
        socket: handlers,
      });
    } catch (error) {
      this.#fail(this.#unreachable(error));
    }
  }

  handshaken(socket: Bun.Socket<Attempt>, success: boolean, error: Error | null): void {
    if (this.#isSettled) return;
    if (!success && !isComplete(socket, error)) {
      this.broke(error);
      return;
    }
    const fingerprint = peerFingerprint(socket);
    if (fingerprint === undefined) this.#fail(this.#unreachable(new Error("it has no certificate")));
    else if (!this.#options.isExpected(fingerprint)) {
      this.#fail(new UntrustedServerError(this.#name, fingerprint));
    } else this.#accept(socket, fingerprint);
  }

  #accept(socket: Bun.Socket<Attempt>, fingerprint: Fingerprint): void {
    const { port, maxQueuedBytes = defaultLimits.maxQueuedBytes } = this.#options;
    // A connection that was reset as its handshake ended no longer knows its address.
    const remoteAddress = plainAddress(socket.remoteAddress ?? this.#hostname);
    const address = socketAddress(remoteAddress, port);
    this.peer = new SocketPeer(socket, fingerprint, { address, remoteAddress }, maxQueuedBytes);
    this.peer.connectMs = performance.now() - this.#startedAt;
    this.#end();
    if (log.isEnabledFor("debug"))
      log.debug("{version} with {cipher}, ALPN {protocol}, after {ms} ms.", sessionRecord(this.peer));
    this.#settle.resolve(this.peer);
  }

  /** There is no TCP connection. */
  failed(error: unknown): void {
    const afterMs = performance.now() - this.#startedAt;
    void preciseError(error, this.#hostname).then((precise) =>
      this.#fail(this.#unreachable(precise, afterMs)),
    );
  }

  /** The handshake failed or, later, the connection broke. */
  broke(error: unknown): void {
    if (this.peer !== undefined) this.peer.duplex.abort(brokenBy(error));
    else if (isSystemError(error, "ECONNRESET", "EPIPE"))
      this.#fail(new BrokenHandshakeError(this.#name, error));
    else this.#fail(this.#unreachable(error));
  }

  closed(error: Error | undefined): void {
    if (this.peer !== undefined) this.peer.duplex.ended(closeReasonOf(error));
    else if (error === undefined) this.#fail(new BrokenHandshakeError(this.#name, undefined));
    else this.broke(error);
  }

  #unreachable(error: unknown, afterMs = 0): VeripyError {
    const text = `Cannot connect to ${this.#name}: ${whyNot(error, afterMs)}`;
    return new VeripyError("unreachable", text, { cause: error });
  }

  expire(): void {
    const more =
      this.#socket === undefined ? "" : " The connection opened, but the TLS handshake did not finish.";
    const text = `Cannot connect to ${this.#name}: no answer within ${this.#timeoutMs} ms.${more}`;
    this.#fail(new ConnectTimeoutError(text));
  }

  readonly #aborted = (): void => {
    this.#fail(new VeripyError("closed", `Gave up connecting to ${this.#name}.`));
  };

  #fail(error: VeripyError): void {
    if (this.#isSettled) return;
    this.#end();
    // In the handshake callback, this keeps the client's certificate from being sent.
    if (this.#socket === undefined) this.#tcp?.cancel();
    else this.#socket.terminate();
    this.#settle.reject(error);
  }

  #end(): void {
    this.#isSettled = true;
    this.#deadline.disarm();
    this.#options.signal?.removeEventListener("abort", this.#aborted);
  }
}

function sessionRecord(peer: SocketPeer): Record<string, unknown> {
  const { version, cipher, protocol = "none" } = peer.session() ?? {};
  return { version, cipher, protocol, ms: Math.round(peer.connectMs ?? 0) };
}

/** Shared by all connections. Each has its state in `socket.data`. */
const handlers: Bun.SocketHandler<Attempt> = {
  handshake: (socket, success, error) => socket.data.handshaken(socket, success, error),
  data: (socket, chunk) => socket.data.peer?.duplex.received(chunk),
  drain: (socket) => socket.data.peer?.duplex.writable(),
  error: (socket, error) => socket.data.broke(error),
  close: (socket, error) => socket.data.closed(error),
};

/**
 * Bun reports no success both for a certificate that no authority has signed, which is normal here, and for a failed
 * handshake, after which the certificate proves nothing. Keying material exists only once the other end's Finished
 * message has been verified.
 */
function isComplete(socket: Bun.Socket<Attempt>, error: Error | null): boolean {
  if (isSystemError(error, "EPROTO", "ECONNRESET")) return false;
  try {
    socket.exportKeyingMaterial(1, "EXPORTER-veripy-complete");
    return true;
  } catch {
    return false;
  }
}
