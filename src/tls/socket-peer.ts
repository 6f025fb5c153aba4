import { X509Certificate } from "node:crypto";
import { VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { type Fingerprint, fingerprintOfSpki } from "../identity/fingerprint.ts";
import type { CloseReason } from "../protocol/duplex.ts";
import { SocketDuplex } from "../protocol/socket-duplex.ts";
import type { Peer, TlsSession } from "./peer.ts";

/** `SSL_OP_NO_TLSv1_2`. Bun already disables older versions. */
const noTls12 = 0x0800_0000;
/** `SSL_OP_NO_TICKET`: every connection must prove its key. */
const noTickets = 0x4000;

/** TLS options that no caller may weaken. Set them last. */
export const tls13Only = { secureOptions: noTls12 | noTickets };

/** A peer over a Bun socket. It takes two objects and no closure, because there may be thousands. */
export class SocketPeer implements Peer {
  readonly fingerprint: Fingerprint;
  readonly address: string;
  readonly remoteAddress: string;
  readonly duplex: SocketDuplex;
  connectMs: number | undefined;
  readonly #socket: Bun.Socket<unknown>;

  /** The addresses are passed in, because each access of the socket's own is a system call. */
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
    // The types say void. Omitting the context is the same as an empty one in TLS 1.3.
    return this.#socket.exportKeyingMaterial(length, label) as unknown as Uint8Array;
  }

  session(): TlsSession | undefined {
    try {
      const { validFromDate, validToDate } = this.#socket.getPeerX509Certificate();
      return {
        version: this.#socket.getTLSVersion(),
        cipher: this.#socket.getCipher().name,
        protocol: this.#socket.alpnProtocol || undefined,
        certificate: { notBefore: validFromDate, notAfter: validToDate },
      };
    } catch {
      // It has been closed meanwhile.
      return undefined;
    }
  }

  unref(): void {
    this.#socket.unref();
  }
}

/**
 * The fingerprint of the key that the other end has proved to hold; undefined when it has no certificate, or one with an
 * unreadable key. Call this only after a complete handshake.
 */
export function peerFingerprint(socket: Bun.Socket<unknown>): Fingerprint | undefined {
  try {
    const certificate = socket.getPeerX509Certificate();
    return certificate instanceof X509Certificate ? remembered(certificate) : undefined;
  } catch {
    return undefined;
  }
}

/** Fingerprints of recent certificates, by their DER: the same clients connect again and again. */
const fingerprints = new Map<string, Fingerprint>();
const maxRemembered = 4_096;
/** VeriPy's own take a third of this. Strangers can send certificates of any length. */
const maxRememberedBytes = 2_048;

/** Reading and hashing the key took a third of the JavaScript time of a handshake. */
function remembered(certificate: X509Certificate): Fingerprint {
  const { raw } = certificate;
  const key = raw.length > maxRememberedBytes ? undefined : raw.toString("latin1");
  const known = key === undefined ? undefined : fingerprints.get(key);
  if (known !== undefined) return known;
  const fingerprint = fingerprintOfSpki(certificate.publicKey.export({ type: "spki", format: "der" }));
  if (key === undefined) return fingerprint;
  // A flood of new keys only empties the cache.
  if (fingerprints.size >= maxRemembered) fingerprints.clear();
  fingerprints.set(key, fingerprint);
  return fingerprint;
}

/** Why a duplex ends with its socket: undefined for an orderly end, otherwise the connection broke. */
export function closeReasonOf(error: Error | undefined): CloseReason {
  return error === undefined || error === null ? undefined : brokenBy(error);
}

/** The error of a broken connection. */
export function brokenBy(error: unknown): VeripyError {
  if (error instanceof VeripyError) return error;
  return new VeripyError("unreachable", `The connection broke: ${reasonOf(error)}.`, { cause: error });
}
