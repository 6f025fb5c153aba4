import { X509Certificate } from "node:crypto";
import { VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { type Fingerprint, fingerprintOfSpki } from "../identity/fingerprint.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import { SocketDuplex } from "../protocol/socket-duplex.ts";
import type { Peer } from "./peer.ts";

/** `SSL_OP_NO_TLSv1_2`; Bun has everything older off already. */
const noTls12 = 0x0800_0000;
/** `SSL_OP_NO_TICKET`: every connection shows its key anew. */
const noTickets = 0x4000;

/** TLS options that no caller may loosen: they are set last. */
export const tls13Only = { secureOptions: noTls12 | noTickets };

/** A peer over a Bun socket. Two objects and no closure: there may be thousands of these. */
export class SocketPeer implements Peer {
  readonly fingerprint: Fingerprint;
  readonly address: string;
  readonly remoteAddress: string;
  readonly duplex: SocketDuplex;
  connectMs: number | undefined;
  readonly #socket: Bun.Socket<unknown>;

  /** The addresses come from the caller, who has asked the socket already: it is a system call each time. */
  constructor(
    socket: Bun.Socket<unknown>,
    fingerprint: Fingerprint,
    { address, remoteAddress }: Pick<Peer, "address" | "remoteAddress">,
    maxQueuedBytes: number,
  ) {
    this.fingerprint = fingerprint;
    this.address = address;
    this.remoteAddress = remoteAddress;
    this.duplex = new SocketDuplex(socket, { maxQueuedBytes });
    this.#socket = socket;
  }

  exportKeyingMaterial(length: number, label: string): Uint8Array {
    // The types say void, and a context that is left out differs from an empty one only before TLS 1.3.
    return this.#socket.exportKeyingMaterial(length, label) as unknown as Uint8Array;
  }

  unref(): void {
    this.#socket.unref();
  }
}

/**
 * The fingerprint of the key that the other end has proved to hold; undefined when it showed no certificate or one
 * with a key that cannot be read. Only to be asked after a handshake that is known to be complete.
 */
export function peerFingerprint(socket: Bun.Socket<unknown>): Fingerprint | undefined {
  try {
    const certificate = socket.getPeerX509Certificate();
    return certificate instanceof X509Certificate ? remembered(certificate) : undefined;
  } catch {
    return undefined;
  }
}

/** Fingerprints of the keys in the certificates that came last, by their DER. The same clients come again and again. */
const fingerprints = new Map<string, Fingerprint>();
const maxRemembered = 4_096;
/** Ours have a third of it. A stranger chooses how long a certificate is. */
const maxRememberedBytes = 2_048;

/** Reading and hashing the key was a third of the JavaScript in a handshake; the same bytes hold the same key. */
function remembered(certificate: X509Certificate): Fingerprint {
  const { raw } = certificate;
  const key = raw.length > maxRememberedBytes ? undefined : raw.toString("latin1");
  const known = key === undefined ? undefined : fingerprints.get(key);
  if (known !== undefined) return known;
  const fingerprint = fingerprintOfSpki(certificate.publicKey.export({ type: "spki", format: "der" }));
  if (key === undefined) return fingerprint;
  // A flood of new keys costs what it cost before, and pushes the others out, nothing more.
  if (fingerprints.size >= maxRemembered) fingerprints.clear();
  fingerprints.set(key, fingerprint);
  return fingerprint;
}

/** How a duplex ends when its socket does: an error is a broken connection, its absence an orderly end. */
export function closeReasonOf(error: Error | undefined): CloseReason {
  return error === undefined || error === null ? undefined : brokenBy(error);
}

/** The same for an error that is there. */
export function brokenBy(error: unknown): VeripyError {
  if (error instanceof VeripyError) return error;
  return new VeripyError("unreachable", `The connection broke: ${reasonOf(error)}.`, { cause: error });
}
