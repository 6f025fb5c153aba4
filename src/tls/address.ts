import { isIP } from "node:net";

/** `ip:port`, an IPv6 address in brackets. A socket that is closed has forgotten its port; then the IP address alone. */
export function socketAddress(ip: string, port: number | undefined): string {
  if (port === undefined) return ip;
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** The IP address in what `socketAddress` has made. */
export function ipOf(address: string): string {
  return isIP(address) === 0
    ? address.slice(0, address.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1")
    : address;
}

/** `::ffff:10.1.2.3`, as a socket that serves both families reports it, is `10.1.2.3`. */
export function plainAddress(ip: string): string {
  return ip.startsWith("::ffff:") && ip.includes(".") ? ip.slice(7) : ip;
}

/**
 * Whom to count an address as: an IPv6 customer usually has a whole /64 to send from, so all of it is one.
 * The address is one that a socket reports, so it is well formed.
 */
export function networkOf(ip: string): string {
  if (!ip.includes(":")) return ip;
  const [before = [], after = []] = ip.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = Array<string>(8 - before.length - after.length).fill("0");
  return `${[...before, ...zeros, ...after].slice(0, 4).join(":")}::/64`;
}
