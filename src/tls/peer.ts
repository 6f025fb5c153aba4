import type { Fingerprint } from "../identity/fingerprint.ts";
import type { Duplex } from "../protocol/duplex.ts";

/** What the two ends of a connection agreed on. */
export interface TlsSession {
  /** `TLSv1.3` */
  readonly version: string;
  /** `TLS_AES_128_GCM_SHA256` */
  readonly cipher: string;
  /** The ALPN name (RFC 7301); undefined if none was asked for or none was chosen. */
  readonly protocol: string | undefined;
  /** The dates in the other end's certificate. Nothing depends on them. */
  readonly certificate: { readonly notBefore: Date; readonly notAfter: Date };
}

/** The other end of a TLS connection, after the handshake and with an accepted key. */
export interface Peer {
  readonly fingerprint: Fingerprint;
  /** `ip:port`, with an IPv6 address in brackets. */
  readonly address: string;
  /** The IP address without the port. IPv4 addresses are IPv4 even if the socket serves both families. */
  readonly remoteAddress: string;
  /** Attach to it in the same turn of the event loop in which you get the peer. */
  readonly duplex: Duplex;
  /** How long connecting took, including the handshake. Known only to the side that connected. */
  readonly connectMs?: number | undefined;
  /** Known only to the side that connected, while the connection is open. */
  session?(): TlsSession | undefined;
  /** The connection no longer keeps the process alive. Data that the kernel has accepted is still sent. */
  unref?(): void;
  /** Secret bytes that are the same at both ends of this connection and nowhere else (RFC 8446 section 7.5). */
  exportKeyingMaterial(length: number, label: string): Uint8Array;
}
