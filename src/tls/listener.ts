import { isIP } from "node:net";
import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import type { Limits } from "../base/limits.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import { plainAddress, socketAddress } from "./address.ts";
import { Admission, type AdmissionLimits, type Droppable, type Visitor } from "./admission.ts";
import { alpnList } from "./alpn.ts";
import { type Bound, bind } from "./bind.ts";
import { DelayedClose } from "./delayed-close.ts";
import { descriptorCeiling, descriptorOf } from "./descriptors.ts";
import { FloodGuard } from "./flood-guard.ts";
import type { Peer } from "./peer.ts";
import { resetPeerAddress } from "./reset-peer.ts";
import { brokenBy, closeReasonOf, peerFingerprint, SocketPeer, tls13Only } from "./socket-peer.ts";

/** Why a connection was refused. `expired` and `wrong_address` are verdicts of the trust file. */
export type RefusalReason =
  | "no_certificate"
  | "untrusted"
  | "expired"
  | "wrong_address"
  | "handshake_timeout"
  | "handshake_failed"
  | "too_many_handshakes"
  | "rate_limited"
  | "out_of_descriptors";

export interface Refusal {
  readonly reason: RefusalReason;
  /** `ip:port`. */
  readonly address: string;
  /** The key that it showed and proved to hold, if it came that far. */
  readonly fingerprint?: Fingerprint;
}

/** True, or why not; false is `untrusted`. */
export type TrustAnswer = boolean | "trusted" | "untrusted" | "expired" | "wrong_address";

export interface ListenOptions {
  /** An address or a name; `localhost` is both 127.0.0.1 and ::1. */
  hostname: string;
  /** 0 picks a free one. */
  port: number;
  identity: Identity;
  limits: AdmissionLimits & Pick<Limits, "handshakeMs" | "maxQueuedBytes">;
  /** Asked once for each complete handshake; `address` is the IP address alone. */
  isTrusted(fingerprint: Fingerprint, address: string): TrustAnswer;
  /** An authenticated peer. Attach to its duplex before returning: what it sent may come right after. */
  onPeer(peer: Peer): void;
  /** Lets in keys that are not trusted, who ask for it by a protocol of their own (ALPN). */
  strangers?: StrangerOptions;
  /** A connection that was closed before it became a peer. As often as strangers like: limit what it writes. */
  onRefused(refusal: Refusal): void;
}

export interface StrangerOptions {
  /** The ALPN name. Whoever names it is a stranger here, trusted or not. */
  protocol: string;
  /** Asked once for each of them, after the handshake. False: refused as `untrusted`. */
  mayEnter(): boolean;
  /** As `onPeer`. What a stranger sends is the caller's to bound, in size and in time. */
  onPeer(peer: Peer): void;
}

export interface Listener {
  readonly port: number;
  /** `ip:port` of each socket that accepts connections. */
  readonly addresses: readonly string[];
  /** Connections whose handshake is under way. */
  readonly handshakes: number;
  /**
   * Shows another identity to whoever connects from now on, at the same address and port. Peers live on, and
   * handshakes under way end as they began. Throws `bad_config` when somebody else has taken the port in between;
   * it may be called again.
   */
  use(identity: Identity): void;
  /** Stops accepting, and drops handshakes under way; peers live on. Idempotent. */
  stop(): void;
}

/**
 * Listens for TLS 1.3 peers with a certificate whose key is trusted. Of anybody else not one byte is read after the
 * handshake. Throws `bad_config` when the address or the port can't be had.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const listener = new TlsListener(options);
  listener.bind();
  return listener;
}

class TlsListener implements Listener {
  readonly options: ListenOptions;
  readonly admission: Admission;
  readonly descriptorCeiling = descriptorCeiling();
  readonly handshaking = new Set<Connection>();
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
    this.#bound = bind<Connection | undefined>(this.options.hostname, this.#port, {
      data: undefined,
      tls: {
        key: this.#identity.keyPem,
        cert: this.#identity.certificatePem,
        requestCert: true,
        // Authorities mean nothing here: whether the key is trusted is asked in `handshake`.
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
    // The key of a socket that listens cannot be changed. The next one takes its place in the same turn of the event
    // loop, a tenth of a millisecond later; only who is between SYN and accept is reset and has to try again.
    this.#bound?.stop();
    this.#bound = undefined;
    this.bind();
  }

  stop(): void {
    this.#bound?.stop();
    for (const connection of this.handshaking) connection.stop();
    this.delayedClose.flush();
  }

  #opened(socket: Bun.Socket<Connection | undefined>): void {
    const { remoteAddress } = socket;
    // One that was reset before it was accepted has no address, or the text `unknown`.
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
  #letIn(socket: Bun.Socket<Connection | undefined>, ip: string): Postponed | undefined {
    const connection = new Connection(ip);
    const entered = this.admission.enter(ip, connection);
    if (typeof entered === "string") return entered;
    socket.data = connection;
    connection.begin(this, socket, entered);
    return undefined;
  }

  /** It has a second chance a little later: many clients behind one address may come in the same moment. */
  #turnAway(
    socket: Bun.Socket<Connection | undefined>,
    ip: string,
    reason: Postponed | "out_of_descriptors",
  ): void {
    // A socket that is closed has forgotten where it came from.
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

/** Why a connection may not begin its handshake now. */
type Postponed = "too_many_handshakes" | "rate_limited";

/** One accepted connection: a handshake first, then a peer. Refused ones are neither. */
class Connection implements Expirable, Droppable {
  peer: SocketPeer | undefined;
  readonly #ip: string;
  /** All that a handshake needs; undefined when it is over, so that an idle peer does not pay for it. */
  #handshake: Handshake | undefined;

  constructor(ip: string) {
    this.#ip = ip;
  }

  begin(listener: TlsListener, socket: Bun.Socket<Connection | undefined>, visitor: Visitor): void {
    const deadline = deadlines.arm(this, listener.options.limits.handshakeMs);
    // A socket that is closed has forgotten where it came from.
    const address = socketAddress(this.#ip, socket.remotePort);
    this.#handshake = { listener, socket, address, visitor, deadline };
    listener.handshaking.add(this);
  }

  handshaken(socket: Bun.Socket<Connection | undefined>, success: boolean): void {
    if (this.#handshake === undefined) return;
    const { options } = this.#handshake.listener;
    // Without success the certificate may be somebody else's: its owner's signature was not seen, or was wrong.
    const fingerprint = success ? peerFingerprint(socket) : undefined;
    if (fingerprint === undefined) {
      this.#refuse(success ? "no_certificate" : "handshake_failed");
      return;
    }
    const { strangers } = options;
    if (strangers !== undefined && socket.alpnProtocol === strangers.protocol) {
      if (strangers.mayEnter()) this.#accept(socket, fingerprint, options, strangers);
      else this.#refuse("untrusted", fingerprint);
      return;
    }
    const answer = options.isTrusted(fingerprint, this.#ip);
    if (answer !== true && answer !== "trusted") {
      this.#refuse(answer === false ? "untrusted" : answer, fingerprint);
      return;
    }
    this.#accept(socket, fingerprint, options, options);
  }

  #accept(
    socket: Bun.Socket<Connection | undefined>,
    fingerprint: Fingerprint,
    { limits }: ListenOptions,
    owner: Pick<ListenOptions, "onPeer">,
  ): void {
    const address = this.#endHandshake()?.address ?? "";
    const addresses = { address, remoteAddress: this.#ip };
    this.peer = new SocketPeer(socket, fingerprint, addresses, limits.maxQueuedBytes);
    owner.onPeer(this.peer);
  }

  received(socket: Bun.Socket<Connection | undefined>, chunk: Uint8Array): void {
    if (this.peer !== undefined) this.peer.duplex.received(chunk);
    // Either refused, and this came with its last handshake bytes; or not authenticated at all.
    else if (this.#handshake === undefined) socket.terminate();
    else this.#refuse("handshake_failed");
  }

  failed(error: Error): void {
    if (this.peer !== undefined) this.peer.duplex.abort(brokenBy(error));
    else this.#refuse("handshake_failed");
  }

  closed(error: Error | undefined): void {
    if (this.peer !== undefined) this.peer.duplex.ended(closeReasonOf(error));
    else this.#refuse("handshake_failed");
  }

  expire(): void {
    this.#refuse("handshake_timeout");
  }

  /** Droppable. */
  drop(): void {
    this.#refuse("too_many_handshakes");
  }

  /** The listener stops, which is no refusal. */
  stop(): void {
    this.#endHandshake()?.socket.terminate();
  }

  #refuse(reason: RefusalReason, fingerprint?: Fingerprint): void {
    const handshake = this.#endHandshake();
    if (handshake === undefined) return;
    const { listener, socket, address } = handshake;
    if (reason === "too_many_handshakes") listener.delayedClose.add(socket);
    else socket.terminate();
    listener.options.onRefused({ reason, address, ...(fingerprint === undefined ? {} : { fingerprint }) });
  }

  #endHandshake(): Handshake | undefined {
    const handshake = this.#handshake;
    if (handshake === undefined) return undefined;
    this.#handshake = undefined;
    handshake.deadline.disarm();
    handshake.listener.admission.leave(handshake.visitor, this);
    handshake.listener.handshaking.delete(this);
    return handshake;
  }
}

interface Handshake {
  readonly listener: TlsListener;
  readonly socket: Bun.Socket<Connection | undefined>;
  readonly address: string;
  readonly visitor: Visitor;
  readonly deadline: Deadline;
}
