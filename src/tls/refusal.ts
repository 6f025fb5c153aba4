import type { Fingerprint } from "../identity/fingerprint.ts";

/** Why a connection was refused. `untrusted`, `expired` and `wrong_address` are what the trust file says of its key. */
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

/** A connection that was closed before it became a peer. */
export interface Refusal {
  readonly reason: RefusalReason;
  /** `ip:port`. */
  readonly address: string;
  /** The key whose possession it proved, if it came that far. */
  readonly fingerprint?: Fingerprint;
}
