import { isIP } from "node:net";
import { isSystemError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";

/** With these errors, the host's other address may still answer. */
export const nothingThere = ["ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH", "EHOSTUNREACH", "EAFNOSUPPORT"];

/** A refusal takes one round trip. The kernel takes three seconds to report that a host is down. */
const slowRefusalMs = 2_500;

/**
 * A more precise error. Bun reports ECONNREFUSED whatever prevented the TCP connection, so this checks with a UDP socket,
 * which sends nothing, whether there is a route to the address.
 */
export async function preciseError(error: unknown, hostname: string): Promise<unknown> {
  const address = isIP(hostname) === 0 ? addressIn(error) : hostname;
  if (address === undefined || !isSystemError(error, "ECONNREFUSED")) return error;
  return (await routeError(address)) ?? error;
}

async function routeError(address: string): Promise<Error | undefined> {
  try {
    const probe = await Bun.udpSocket({
      hostname: isIP(address) === 6 ? "::" : "0.0.0.0",
      connect: { hostname: address, port: 9 },
      socket: {},
    });
    probe.close();
    return undefined;
  } catch (error) {
    return isSystemError(error, ...nothingThere) ? (error as Error) : undefined;
  }
}

/** The address that was tried for a name; the first one if there were several. */
function addressIn(error: unknown): string | undefined {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const address = first instanceof Error && "address" in first ? first.address : undefined;
  return typeof address === "string" && isIP(address) !== 0 ? address : undefined;
}

/** Why there is no connection, and what to check. `afterMs` is how long it took to fail. */
export function whyNot(error: unknown, afterMs: number): string {
  if (isSystemError(error, "ECONNREFUSED")) {
    return afterMs < slowRefusalMs
      ? "nothing is listening there. Is veripy-server running, and are host and port right?"
      : `that host did not answer within ${Math.round(afterMs / 1_000)} s. Is it running, and on the network?`;
  }
  if (isSystemError(error, "ENETUNREACH"))
    return "this machine has no route to that network. Is it connected, and is the address right?";
  if (isSystemError(error, "EHOSTUNREACH"))
    return "that host cannot be reached. Is it running, and on the network?";
  if (isSystemError(error, "ETIMEDOUT"))
    return "that host did not answer. It may be down, or a firewall may be dropping packets.";
  if (isSystemError(error, "EADDRNOTAVAIL", "EAFNOSUPPORT"))
    return "this machine has no address from which it can reach that host.";
  if (isSystemError(error, "EACCES", "EPERM")) return "a firewall or route on this machine forbids it.";
  if (isSystemError(error, "ENOTFOUND", "ENODATA")) return "there is no host with that name.";
  if (isSystemError(error, "EAI_AGAIN"))
    return "there is no host with that name, or no name server answered. Is this machine connected?";
  if (isSystemError(error, "EPROTO")) return `the TLS 1.3 handshake failed: ${handshakeFault(error)}`;
  if (isSystemError(error, "ECONNRESET", "EPIPE")) return "it closed the connection during the handshake.";
  if (error instanceof TypeError) return "that is not a valid host and port.";
  return `${reasonOf(error)}.`;
}

/** OpenSSL gives its reason only in the message. */
function handshakeFault(error: unknown): string {
  const message = error instanceof Error ? error.message : "";
  if (message.includes("BAD_SIGNATURE")) return "it does not have the private key of its certificate.";
  if (message.includes("PROTOCOL_VERSION")) return "it does not speak TLS 1.3.";
  return "the answer was not from a veripy-server. Are host and port right?";
}
