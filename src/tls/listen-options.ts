import type { Limits } from "../base/limits.ts";
import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import type { AdmissionLimits } from "./admission.ts";
import type { Peer } from "./peer.ts";
import type { Refusal, RefusalReason } from "./refusal.ts";

/** What is decided about a key: `trusted`, or the reason for the refusal. */
export type TrustAnswer = "trusted" | Extract<RefusalReason, "untrusted" | "expired" | "wrong_address">;

export interface ListenOptions {
  /** An address or a name. `localhost` is both 127.0.0.1 and ::1. */
  hostname: string;
  /** 0 picks a free one. */
  port: number;
  identity: Identity;
  limits: AdmissionLimits & Pick<Limits, "handshakeMs" | "maxQueuedBytes">;
  /** Called once for each completed handshake. `address` is the IP address without the port. */
  verdict(fingerprint: Fingerprint, address: string): TrustAnswer;
  /** Called with an authenticated peer. Attach to its duplex before returning: data may follow immediately. */
  onPeer(peer: Peer): void;
  /** Admits untrusted keys that ask for it by a protocol of their own (ALPN). */
  strangers?: StrangerOptions;
  /** Called for each refusal, as often as strangers cause one: limit what it writes. */
  onRefused(refusal: Refusal): void;
}

export interface StrangerOptions {
  /** The ALPN name. A client that asks for it is a stranger on that connection, even if its key is trusted. */
  protocol: string;
  /** Called once for each stranger, after the handshake. If false, it is refused as `untrusted`. */
  mayEnter(): boolean;
  /** As `onPeer`. The caller must limit what a stranger sends, and for how long. */
  onPeer(peer: Peer): void;
}
