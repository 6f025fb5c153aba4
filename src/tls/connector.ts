import { isIP } from "node:net";
import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import { isSystemError, messageOf, VeripyError } from "../base/errors.ts";
import { defaultLimits } from "../base/limits.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import { plainAddress, socketAddress } from "./address.ts";
import { alpnList } from "./alpn.ts";
import type { Peer } from "./peer.ts";
import { brokenBy, closeReasonOf, peerFingerprint, SocketPeer, tls13Only } from "./socket-peer.ts";

export interface ConnectTlsOptions {
  /** A name or an address; `localhost` is 127.0.0.1, and ::1 if nothing listens there. */
  host: string;
  port: number;
  identity: Identity;
  /** Whether the server may have this key. Asked before our certificate is sent. */
  isExpected(fingerprint: Fingerprint): boolean;
  /** For everything from the name look-up to the end of the handshake. */
  timeoutMs: number;
  maxQueuedBytes?: number;
  /** The ALPN name to ask for; none by default. */
  protocol?: string;
  /** Gives up, as `closed`. After the promise has settled it does nothing. */
  signal?: AbortSignal;
}

/** The server has another key than expected. It has not seen our certificate. */
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

/**
 * Connects over TLS 1.3 to a server with an expected key. Rejects with `UntrustedServerError`, with `unreachable`
 * when there is no server, no answer in time or no TLS 1.3, or with `closed` when `signal` says so. That the
 * server does not accept our own key shows later: it closes the connection without a word.
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
      // Only where nothing listens may the other family be tried: a server with the wrong key is an answer.
      if (!(error instanceof VeripyError) || !isSystemError(error.cause, ...nothingThere)) throw error;
      refused ??= error;
    }
  }
  throw refused;
}

const nothingThere = ["ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH", "EHOSTUNREACH", "EAFNOSUPPORT"];

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
    const hostname = this.#hostname;
    const { port, identity, protocol } = this.#options;
    try {
      Bun.connect<Attempt>({
        hostname,
        port,
        data: this,
        tls: {
          key: identity.keyPem,
          cert: identity.certificatePem,
          // Authorities mean nothing here: the key is checked in `handshake`, against the expected ones.
          rejectUnauthorized: false,
          ...(isIP(hostname) === 0 ? { serverName: hostname } : {}),
          ...(protocol === undefined ? {} : { ALPNProtocols: alpnList(protocol) }),
          ...tls13Only,
        },
        socket: handlers,
      }).catch((error) => this.failed(error));
    } catch (error) {
      this.failed(error);
    }
  }

  opened(socket: Bun.Socket<Attempt>): void {
    // Nobody waits for it any more.
    if (this.#isSettled) socket.terminate();
    else this.#socket = socket;
  }

  handshaken(socket: Bun.Socket<Attempt>, success: boolean, error: Error | null): void {
    if (this.#isSettled) return;
    if (!success && !isComplete(socket, error)) {
      this.failed(error);
      return;
    }
    const fingerprint = peerFingerprint(socket);
    if (fingerprint === undefined) this.failed(new Error("it has no certificate"));
    else if (!this.#options.isExpected(fingerprint)) {
      this.#fail(new UntrustedServerError(this.#name, fingerprint));
    } else this.#accept(socket, fingerprint);
  }

  #accept(socket: Bun.Socket<Attempt>, fingerprint: Fingerprint): void {
    const { port, maxQueuedBytes = defaultLimits.maxQueuedBytes } = this.#options;
    // One that was reset together with the end of its handshake has forgotten where it leads.
    const remoteAddress = plainAddress(socket.remoteAddress ?? this.#hostname);
    const address = socketAddress(remoteAddress, port);
    this.peer = new SocketPeer(socket, fingerprint, { address, remoteAddress }, maxQueuedBytes);
    this.#end();
    this.#settle.resolve(this.peer);
  }

  /** The connection or the handshake did not work; or, later, the connection broke. */
  failed(error: unknown): void {
    if (this.peer !== undefined) {
      this.peer.duplex.abort(brokenBy(error));
    } else {
      const text = `Cannot connect to ${this.#name}: ${why(error)}`;
      this.#fail(new VeripyError("unreachable", text, { cause: error }));
    }
  }

  closed(error: Error | undefined): void {
    if (this.peer !== undefined) this.peer.duplex.ended(closeReasonOf(error));
    else this.failed(error ?? new Error("it closed the connection during the handshake"));
  }

  expire(): void {
    const text = `Cannot connect to ${this.#name}: no answer within ${this.#timeoutMs} ms.`;
    this.#fail(new VeripyError("unreachable", text));
  }

  readonly #aborted = (): void => {
    this.#fail(new VeripyError("closed", `Gave up connecting to ${this.#name}.`));
  };

  #fail(error: VeripyError): void {
    if (this.#isSettled) return;
    this.#end();
    // In the handshake callback this is what keeps our certificate from being sent.
    this.#socket?.terminate();
    this.#settle.reject(error);
  }

  #end(): void {
    this.#isSettled = true;
    this.#deadline.disarm();
    this.#options.signal?.removeEventListener("abort", this.#aborted);
  }
}

/** One set for all connections; each has its state in `socket.data`. */
const handlers: Bun.SocketHandler<Attempt> = {
  open: (socket) => socket.data.opened(socket),
  handshake: (socket, success, error) => socket.data.handshaken(socket, success, error),
  data: (socket, chunk) => socket.data.peer?.duplex.received(chunk),
  drain: (socket) => socket.data.peer?.duplex.writable(),
  error: (socket, error) => socket.data.failed(error),
  close: (socket, error) => socket.data.closed(error),
  connectError: (socket, error) => socket.data.failed(error),
};

/**
 * Bun reports two things as "no success": a certificate that no authority vouches for, which is every one of
 * ours, and a handshake that failed, after which the certificate may be somebody else's. Keying material exists
 * only once the other end's Finished has been verified.
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

function why(error: unknown): string {
  if (isSystemError(error, "ECONNREFUSED")) {
    return "nothing listens there. Is veripy-server running, and are host and port right?";
  }
  if (isSystemError(error, "ENOTFOUND", "EAI_AGAIN", "ENODATA")) return "there is no host of that name.";
  if (isSystemError(error, "ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"))
    return "there is no way to that host.";
  if (isSystemError(error, "EPROTO")) return `the TLS 1.3 handshake failed (${messageOf(error)}).`;
  if (isSystemError(error, "ECONNRESET")) return "it closed the connection during the handshake.";
  return `${messageOf(error)}.`;
}
