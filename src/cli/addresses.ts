import { isIPv6 } from "node:net";
import { z } from "zod";

export interface HostAndPort {
  /** An IPv6 address is in brackets, so that `host:port` is unambiguous. */
  readonly host: string;
  readonly port: number | undefined;
}

/** `server.example`, `server.example:9443`, `[::1]:9443`, and `::1` without a port. */
export const hostAndPort = z
  .string()
  .transform((text) => (isIPv6(text) ? `[${text}]` : text))
  .refine(
    (text) => isIPv6(/^\[(.*)\](?::\d+)?$/.exec(text)?.[1] ?? "") || /^[^:\s[\]/@]+(:\d+)?$/.test(text),
    "It must be HOST or HOST:PORT, with an IPv6 address in brackets, as in [::1]:9443.",
  )
  .transform((text): HostAndPort => {
    const [, host = "", port] = /^(.*?)(?::(\d+))?$/.exec(text) ?? [];
    return { host, port: port === undefined ? undefined : Number(port) };
  })
  .refine(
    (value) => (value.port ?? 1) >= 1 && (value.port ?? 1) <= 65_535,
    "The port must be from 1 to 65535.",
  );

/** `9100`, `127.0.0.1:9100` or `[::1]:9100`; without a host, the IPv4 loopback address. */
export const endpoint = z
  .string()
  .regex(/^(?:(?:\[[0-9a-f:.]+\]|[^:\s[\]]+):)?\d{1,5}$/i, "It must be PORT or HOST:PORT.")
  .transform((text) => {
    const colon = text.lastIndexOf(":");
    const hostname = colon < 0 ? "127.0.0.1" : text.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
    return { hostname, port: Number(text.slice(colon + 1)) };
  })
  .refine((value) => value.port <= 65_535, "The port must be at most 65535.");

/** An address to listen on. Whether this machine has it turns out when the server starts to listen. */
export const listenAddress = z
  .string()
  .refine(
    (text) => isIPv6(text.replace(/^\[(.*)\]$/, "$1")) || /^[^:\s[\]/]+$/.test(text),
    "It must be an address or host name of this machine, without a port (use --port).",
  );
