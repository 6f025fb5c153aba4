import { isIP } from "node:net";

/** `ip:port`, with an IPv6 address in brackets. The IP address alone when the port is unknown: a closed socket has none. */
export function socketAddress(ip: string, port: number | undefined): string {
  if (port === undefined) return ip;
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** The IP address in a result of `socketAddress`. */
export function ipOf(address: string): string {
  return isIP(address) === 0
    ? address.slice(0, address.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1")
    : address;
}

/** Turns `::ffff:10.1.2.3`, as reported by a socket for both families, into `10.1.2.3`. */
export function plainAddress(ip: string): string {
  return ip.startsWith("::ffff:") && ip.includes(".") ? ip.slice(7) : ip;
}

/**
 * The network to count an address as. One IPv6 customer usually has a whole /64, so that counts as one. The address must
 * be well formed, as reported by a socket.
 */
export function networkOf(ip: string): string {
  if (!ip.includes(":")) return ip;
  const [before = [], after = []] = ip.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = Array<string>(8 - before.length - after.length).fill("0");
  return `${[...before, ...zeros, ...after].slice(0, 4).join(":")}::/64`;
}
