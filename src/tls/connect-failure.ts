import { isIP } from "node:net";
import { isSystemError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";

/** The reasons for which the host's other address may still answer. */
export const nothingThere = ["ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH", "EHOSTUNREACH", "EAFNOSUPPORT"];

/** A refusal is one packet there and one back. A host that is down is found out by the kernel, after three seconds. */
const slowRefusalMs = 2_500;

/**
 * The error that it really was. Bun calls it ECONNREFUSED whatever keeps a TCP connection from opening; whether there
 * is a way to the address is asked again, of a UDP socket, which sends nothing.
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

/** The address that a connection to a name was tried at; the first one, where there were several. */
function addressIn(error: unknown): string | undefined {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const address = first instanceof Error && "address" in first ? first.address : undefined;
  return typeof address === "string" && isIP(address) !== 0 ? address : undefined;
}

/** Why there is no connection, and what to look at. `afterMs` is how long it took to fail. */
export function whyNot(error: unknown, afterMs: number): string {
  if (isSystemError(error, "ECONNREFUSED")) {
    return afterMs < slowRefusalMs
      ? "nothing listens there. Is veripy-server running, and are host and port right?"
      : `no answer came from that host within ${Math.round(afterMs / 1_000)} s. Is it running, and on the network?`;
  }
  if (isSystemError(error, "ENETUNREACH"))
    return "this machine has no route to that network. Is it connected, and is the address right?";
  if (isSystemError(error, "EHOSTUNREACH"))
    return "that host cannot be reached. Is it running, and on the network?";
  if (isSystemError(error, "ETIMEDOUT"))
    return "that host did not answer. It may be down, or a firewall drops the packets.";
  if (isSystemError(error, "EADDRNOTAVAIL", "EAFNOSUPPORT"))
    return "this machine has no address from which that host could be reached.";
  if (isSystemError(error, "EACCES", "EPERM")) return "a firewall or a route of this machine forbids it.";
  if (isSystemError(error, "ENOTFOUND", "ENODATA")) return "there is no host of that name.";
  if (isSystemError(error, "EAI_AGAIN"))
    return "there is no host of that name, or no name server answered. Is this machine connected?";
  if (isSystemError(error, "EPROTO")) return `the TLS 1.3 handshake failed: ${handshakeFault(error)}`;
  if (isSystemError(error, "ECONNRESET", "EPIPE")) return "it closed the connection during the handshake.";
  if (error instanceof TypeError) return "that is not a host and a port.";
  return `${reasonOf(error)}.`;
}

/** OpenSSL gives its reason in its message alone. */
function handshakeFault(error: unknown): string {
  const message = error instanceof Error ? error.message : "";
  if (message.includes("BAD_SIGNATURE")) return "it does not have the key of the certificate that it shows.";
  if (message.includes("PROTOCOL_VERSION")) return "it does not speak TLS 1.3.";
  return "what came was not what a veripy-server sends. Are host and port right?";
}
