import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { VeripyError } from "../base/errors.ts";
import { version } from "../base/version.ts";
import { makeCertificate } from "../identity/certificate.ts";
import { fingerprintOfX509 } from "../identity/fingerprint.ts";
import type { Identity } from "../identity/identity.ts";
import type { InfoResponse } from "../protocol/messages.ts";
import { connectTls, UntrustedServerError } from "../tls/connector.ts";
import { serverName } from "../trust/known-servers.ts";
import type { VeripyClient } from "./client.ts";
import { connect } from "./client.ts";
import type { ConnectOptions } from "./connect-options.ts";
import type { ClientSession } from "./connection.ts";
import { day } from "./examine-files.ts";
import { type Finding, fault, ok, warning } from "./finding.ts";

/** Connects to a server, and asks it about itself. */
export async function* examineServer(
  options: ConnectOptions & { host: string; port: number },
): AsyncGenerator<Finding> {
  let client: VeripyClient;
  try {
    client = await connect({ ...options, decide: true, reconnect: false });
  } catch (error) {
    yield serverFault(error);
    return;
  }
  try {
    const { session } = client;
    if (session !== undefined) yield ok("network", `${session.address} answers`);
    yield ok("server", `it has the key ${client.serverFingerprint}, and accepts this client`);
    if (session !== undefined) yield* sessionFindings(session);
    yield modulesFinding(client);
    yield* await infoFindings(client);
  } finally {
    client.close();
  }
}

/** Finds out whether a server answers, for a client that can't show its own key or must not trust one: it breaks the handshake off. */
export async function* probeServer(server: {
  host: string;
  port: number;
  timeoutMs: number;
}): AsyncGenerator<Finding> {
  const name = serverName(server.host, server.port);
  try {
    await connectTls({ ...server, identity: await passingIdentity(), isExpected: () => false });
  } catch (error) {
    if (!(error instanceof UntrustedServerError)) yield serverFault(error);
    else {
      yield ok("network", `${name} answers, with the key ${error.fingerprint}`);
      yield warning(
        "server",
        "Not examined, because of the errors above. When they are gone, type again: veripy-client doctor",
      );
    }
  }
}

/** A key that is kept nowhere. No server gets to see it. */
async function passingIdentity(): Promise<Identity> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const certificatePem = await makeCertificate({ commonName: "veripy client", keyPem, days: 1 });
  const certificate = new X509Certificate(certificatePem);
  return {
    keyPem,
    certificatePem,
    fingerprint: fingerprintOfX509(certificate),
    notAfter: certificate.validToDate,
  };
}

function serverFault(error: unknown): Finding {
  const isUnreachable =
    error instanceof VeripyError && (error.code === "unreachable" || error.code === "timeout");
  if (!isUnreachable) return fault("server", error);
  return fault("network", error, "On the server, type: veripy-server");
}

function* sessionFindings({
  version: tls,
  cipher,
  connectMs,
  certificate,
}: ClientSession): Generator<Finding> {
  yield ok("tls", `${tls} with ${cipher}, connected in ${Math.round(connectMs)} ms`);
  const now = new Date();
  if (certificate.notBefore > now)
    yield warning(
      "clock",
      `The server's certificate is valid only from ${day(certificate.notBefore)}, and this machine says ${day(now)}. One of the two clocks is wrong. On both, type: date`,
    );
  else if (certificate.notAfter < now)
    yield warning(
      "clock",
      `The server's certificate expired on ${day(certificate.notAfter)}, and this machine says ${day(now)}. If that is right, type on the server: veripy-server renew`,
    );
  else
    yield ok(
      "clock",
      "not compared, because a server does not tell its time; the dates of its certificate fit",
    );
}

function modulesFinding({ reports, approvals }: VeripyClient): Finding {
  const states = [...reports.keys()].map((mod) => approvals.of(mod).state);
  const count = (state: string) => states.filter((one) => one === state).length;
  const counts = ["approved", "pending", "denied", "not approved"].map(
    (state) => [state, count(state)] as const,
  );
  const shown = counts.flatMap(([state, of]) => (of === 0 ? [] : `${of} ${state}`)).join(", ");
  if (count("pending") > 0)
    return warning("modules", `${shown}. To see what has changed, type: veripy-client diff`);
  return ok("modules", shown || "none");
}

async function infoFindings(client: VeripyClient): Promise<Finding[]> {
  const { reports } = client;
  // A server of the plain protocol must not be asked.
  if (reports.size > 0 && [...reports.values()].every(({ tree }) => tree === undefined)) {
    return [
      ok("versions", `this client ${version}; the server speaks only the plain form of the protocol`),
      warning("sandbox", "A server of the plain protocol does not say whether it has one."),
    ];
  }
  try {
    const info = await client.info();
    return [ok("versions", `this client ${version}, the server ${info.server}`), sandboxFinding(info)];
  } catch (error) {
    return [fault("versions", error)];
  }
}

function sandboxFinding({ sandbox }: InfoResponse): Finding {
  const advice = "On the server, type: veripy-server doctor";
  if (sandbox === undefined) return warning("sandbox", `The server does not say that it has one. ${advice}`);
  if (sandbox.enforced)
    return ok("sandbox", `the server enforces the permissions of modules (${sandbox.mode})`);
  const why = sandbox.mode === "off" ? "it is off" : "the server's system can't enforce all permissions";
  return warning("sandbox", `Modules are not held to their permissions: ${why}. ${advice}`);
}
