import { spawnSync } from "node:child_process";
import { join } from "node:path";

/**
 * Writes `server.{key,crt}` and `client.{key,crt}` into `directory`: self-signed Ed25519, as VeriPy's own are.
 * Stacks that can't compare keys get the peer's certificate as their only authority, which pins it as well.
 */
export function makeCertificates(directory: string): void {
  for (const side of ["server", "client"]) {
    const made = spawnSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", `/CN=bench-${side}`],
        ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        ...["-keyout", join(directory, `${side}.key`), "-out", join(directory, `${side}.crt`)],
      ],
      { encoding: "utf8" },
    );
    if (made.error !== undefined) throw new Error(`Cannot make certificates: ${made.error.message}`);
    if (made.status !== 0) throw new Error(`Cannot make certificates: ${made.stderr}`);
  }
}
