import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import { socketAddress } from "./address.ts";
import type { Admission, Droppable, Visitor } from "./admission.ts";
import type { DelayedClose } from "./delayed-close.ts";
import type { ListenOptions } from "./listen-options.ts";
import type { RefusalReason } from "./refusal.ts";
import { brokenBy, closeReasonOf, peerFingerprint, SocketPeer } from "./socket-peer.ts";

/** What a connection needs of the listener that accepted it. */
export interface AcceptingListener {
  readonly options: ListenOptions;
  readonly admission: Admission;
  /** The connections whose handshake is under way. */
  readonly handshaking: Set<AcceptedConnection>;
  readonly delayedClose: DelayedClose;
}

export type AcceptedSocket = Bun.Socket<AcceptedConnection | undefined>;

/** An accepted connection: first a handshake, then a peer. A refused one is neither. */
export class AcceptedConnection implements Expirable, Droppable {
  peer: SocketPeer | undefined;
  readonly #ip: string;
  /** Undefined after the handshake, so that an idle peer takes no memory for it. */
  #handshake: Handshake | undefined;

  constructor(ip: string) {
    this.#ip = ip;
  }

  begin(listener: AcceptingListener, socket: AcceptedSocket, visitor: Visitor): void {
    const deadline = deadlines.arm(this, listener.options.limits.handshakeMs);
    // Asked now: a closed socket no longer knows its port.
    const address = socketAddress(this.#ip, socket.remotePort);
    this.#handshake = { listener, socket, address, visitor, deadline };
    listener.handshaking.add(this);
  }

  handshaken(socket: AcceptedSocket, success: boolean): void {
    if (this.#handshake === undefined) return;
    const { options } = this.#handshake.listener;
    // Without success the certificate proves nothing: its signature was missing or wrong.
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
    const answer = options.verdict(fingerprint, this.#ip);
    if (answer === "trusted") this.#accept(socket, fingerprint, options, options);
    else this.#refuse(answer, fingerprint);
  }

  #accept(
    socket: AcceptedSocket,
    fingerprint: Fingerprint,
    { limits }: ListenOptions,
    owner: Pick<ListenOptions, "onPeer">,
  ): void {
    const address = this.#endHandshake()?.address ?? "";
    const addresses = { address, remoteAddress: this.#ip };
    this.peer = new SocketPeer(socket, fingerprint, addresses, limits.maxQueuedBytes);
    owner.onPeer(this.peer);
  }

  received(socket: AcceptedSocket, chunk: Uint8Array): void {
    if (this.peer !== undefined) this.peer.duplex.received(chunk);
    // After a refusal, data may still arrive with the last bytes of the handshake.
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

  /** To make room for another handshake. */
  drop(): void {
    this.#refuse("too_many_handshakes");
  }

  /** Ends the handshake because the listener stops. This is not a refusal. */
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
  readonly listener: AcceptingListener;
  readonly socket: AcceptedSocket;
  readonly address: string;
  readonly visitor: Visitor;
  readonly deadline: Deadline;
}
