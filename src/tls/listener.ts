import { isIP } from "node:net";
import type { Identity } from "../identity/identity.ts";
import { AcceptedConnection, type AcceptedSocket, type AcceptingListener } from "./accepted-connection.ts";
import { plainAddress, socketAddress } from "./address.ts";
import { Admission } from "./admission.ts";
import { alpnList } from "./alpn.ts";
import { type Bound, bind } from "./bind.ts";
import { DelayedClose } from "./delayed-close.ts";
import { descriptorCeiling, descriptorOf } from "./descriptors.ts";
import { FloodGuard } from "./flood-guard.ts";
import type { ListenOptions } from "./listen-options.ts";
import type { RefusalReason } from "./refusal.ts";
import { resetPeerAddress } from "./reset-peer.ts";
import { tls13Only } from "./socket-peer.ts";

export interface Listener {
  readonly port: number;
  /** `ip:port` of each socket that accepts connections. */
  readonly addresses: readonly string[];
  /** Connections whose handshake is under way. */
  readonly handshakes: number;
  /**
   * Uses another identity for new connections, at the same address and port. Peers and handshakes under way are not
   * affected. Throws `bad_config` when another program has taken the port in between; you may call it again.
   */
  use(identity: Identity): void;
  /** Stops accepting and drops handshakes under way. Peers are not affected. Idempotent. */
  stop(): void;
}

/**
 * Listens for TLS 1.3 peers whose key is trusted. After the handshake, not one byte of any other peer is read. Throws
 * `bad_config` when the address or port can't be used.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const listener = new TlsListener(options);
  listener.bind();
  return listener;
}

class TlsListener implements Listener, AcceptingListener {
  readonly options: ListenOptions;
  readonly admission: Admission;
  readonly descriptorCeiling = descriptorCeiling();
  readonly handshaking = new Set<AcceptedConnection>();
  readonly delayedClose = new DelayedClose(this.descriptorCeiling / 2);
  readonly #floodGuard = new FloodGuard(() => this.#bound?.descriptors ?? []);
  #identity: Identity;
  #port: number;
  #bound: Bound | undefined;

  constructor(options: ListenOptions) {
    this.options = options;
    this.#identity = options.identity;
    this.#port = options.port;
    this.admission = new Admission(options.limits);
  }

  get port(): number {
    return this.#port;
  }

  get addresses(): readonly string[] {
    return this.#bound?.addresses ?? [];
  }

  get handshakes(): number {
    return this.admission.handshakes;
  }

  bind(): void {
    this.#bound = bind<AcceptedConnection | undefined>(this.options.hostname, this.#port, {
      data: undefined,
      tls: {
        key: this.#identity.keyPem,
        cert: this.#identity.certificatePem,
        requestCert: true,
        // Certificate authorities play no role: the key is checked when the handshake is complete.
        rejectUnauthorized: false,
        ...(this.options.strangers === undefined
          ? {}
          : { ALPNProtocols: alpnList(this.options.strangers.protocol) }),
        ...tls13Only,
      },
      socket: {
        open: (socket) => this.#opened(socket),
        handshake: (socket, success) => socket.data?.handshaken(socket, success),
        data: (socket, chunk) => socket.data?.received(socket, chunk),
        drain: (socket) => socket.data?.peer?.duplex.writable(),
        error: (socket, error) => socket.data?.failed(error),
        close: (socket, error) => socket.data?.closed(error),
      },
    });
    this.#port = this.#bound.port;
  }

  use(identity: Identity): void {
    this.#identity = identity;
    // The key of a listening socket can't be changed, so a new socket replaces it, 0.1 ms later. Only connections that
    // the old one had not accepted yet are reset; those clients try again.
    this.#bound?.stop();
    this.#bound = undefined;
    this.bind();
  }

  stop(): void {
    this.#bound?.stop();
    for (const connection of this.handshaking) connection.stop();
    this.delayedClose.flush();
  }

  #opened(socket: AcceptedSocket): void {
    const { remoteAddress } = socket;
    // A connection that was reset before it was accepted has no address, or the text `unknown`.
    if (remoteAddress === undefined || isIP(remoteAddress) === 0) {
      this.#floodGuard.turnedAway(resetPeerAddress(descriptorOf(socket)));
      socket.terminate();
      return;
    }
    const ip = plainAddress(remoteAddress);
    if (descriptorOf(socket) >= this.descriptorCeiling) this.#turnAway(socket, ip, "out_of_descriptors");
    else {
      const refusedFor = this.#letIn(socket, ip);
      if (refusedFor !== undefined) this.#turnAway(socket, ip, refusedFor);
    }
  }

  /** Begins the handshake, or says why it may not begin. */
  #letIn(socket: AcceptedSocket, ip: string): Postponed | undefined {
    const connection = new AcceptedConnection(ip);
    const entered = this.admission.enter(ip, connection);
    if (typeof entered === "string") return entered;
    socket.data = connection;
    connection.begin(this, socket, entered);
    return undefined;
  }

  /** Gives it a second chance a little later: many clients behind one address may connect at the same moment. */
  #turnAway(socket: AcceptedSocket, ip: string, reason: Postponed | "out_of_descriptors"): void {
    // Asked now: a closed socket no longer knows its port.
    const address = socketAddress(ip, socket.remotePort);
    this.#floodGuard.turnedAway(ip);
    this.delayedClose.add(socket, () => {
      const hasHungUp = descriptorOf(socket) < 0;
      const refusedFor = reason === "out_of_descriptors" || hasHungUp ? reason : this.#letIn(socket, ip);
      if (refusedFor !== undefined) this.options.onRefused({ reason: refusedFor, address });
      return refusedFor === undefined;
    });
  }
}

/** Why a connection may not begin its handshake now. It may a little later. */
type Postponed = Extract<RefusalReason, "too_many_handshakes" | "rate_limited">;
