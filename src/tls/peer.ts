import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Duplex } from "../protocol/duplex.ts";

/** The other end of a TLS connection whose handshake is complete and whose key was accepted. */
export interface Peer {
  readonly fingerprint: Fingerprint;
  /** `ip:port`, an IPv6 address in brackets. */
  readonly address: string;
  /** The IP address alone. IPv4 is IPv4 even where the socket serves both families. */
  readonly remoteAddress: string;
  /** Attach to it in the turn in which the peer is handed over. */
  readonly duplex: Duplex;
  /** How long it took to connect, handshake included. Only the side that connected knows. */
  readonly connectMs?: number | undefined;
  /** From now on the connection does not keep the process alive. What the kernel has taken is still sent. */
  unref?(): void;
  /** The same secret bytes at both ends of this connection and nowhere else (RFC 8446 section 7.5). */
  exportKeyingMaterial(length: number, label: string): Uint8Array;
}
