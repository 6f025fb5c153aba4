import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** TLS 1.3 only and no session tickets, in OpenSSL's numbers (SSL_OP_NO_TLSv1_2, SSL_OP_NO_TICKET). */
export const tls13WithoutTickets = 0x0800_0000 | 0x4000;

/** The files of one side: its own key and certificate, and the certificate of the one peer it accepts. */
export interface Secrets {
  readonly key: string;
  readonly cert: string;
  readonly peerCert: string;
}

/** Reads `server.*` or `client.*` of a directory that `makeCertificates` or `veripy-server init` filled. */
export function readSecrets(certs: string, side: "server" | "client"): Secrets {
  const other = side === "server" ? "client" : "server";
  const read = (file: string): string => readFileSync(join(certs, file), "utf8");
  return { key: read(`${side}.key`), cert: read(`${side}.crt`), peerCert: read(`${other}.crt`) };
}

/** The SHA-256 of a certificate's SubjectPublicKeyInfo: what a pin compares. */
export function keyPin(certificate: X509Certificate | string): string {
  const parsed = typeof certificate === "string" ? new X509Certificate(certificate) : certificate;
  return createHash("sha256")
    .update(parsed.publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** True when the peer of this Bun socket holds the pinned key. Called in `handshake`. */
export function peerHolds(socket: Bun.Socket<unknown>, pin: string): boolean {
  const certificate = socket.getPeerX509Certificate();
  return certificate !== undefined && keyPin(certificate) === pin;
}
