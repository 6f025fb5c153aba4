import { isSystemError, VeripyError } from "../base/errors.ts";
import { socketAddress } from "./address.ts";
import { deepenBacklog } from "./backlog.ts";
import { descriptorOf } from "./descriptors.ts";
import { limitUnsent } from "./unsent-limit.ts";

/** One or more listening sockets, used as one. */
export interface Bound {
  readonly port: number;
  /** `ip:port` of each socket. */
  readonly addresses: readonly string[];
  /** Of each socket; -1 once it is stopped. */
  readonly descriptors: readonly number[];
  stop(): void;
}

type Handlers<Data> = Omit<Bun.TCPSocketListenOptions<Data>, "hostname" | "port">;

/** A port that is free on IPv4 may be in use on IPv6. Another one will do. */
const portAttempts = 20;

/**
 * Binds to an address. `localhost` means 127.0.0.1 and ::1 with the same port, or only 127.0.0.1 on a machine without
 * IPv6. Port 0 picks a free port. Throws `bad_config` when the address or port can't be used.
 */
export function bind<Data>(hostname: string, port: number, handlers: Handlers<Data>): Bound {
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  if (host.toLowerCase() !== "localhost") return together([bindOne(host, port, handlers)]);
  for (let attempt = 1; ; attempt++) {
    const first = bindOne("127.0.0.1", port, handlers);
    try {
      return together([first, bindOne("::1", first.port, handlers)]);
    } catch (error) {
      const cause = error instanceof VeripyError ? error.cause : error;
      if (isSystemError(cause, "EADDRNOTAVAIL", "EAFNOSUPPORT")) return together([first]);
      first.stop(true);
      if (port !== 0 || attempt === portAttempts || !isSystemError(cause, "EADDRINUSE")) throw error;
    }
  }
}

/** Checks in advance whether `bind` would succeed. Throws as `bind` does. */
export function probe(hostname: string, port: number): void {
  if (port !== 0) bind(hostname, port, { socket: { data: () => {} } }).stop();
}

function bindOne<Data>(
  hostname: string,
  port: number,
  handlers: Handlers<Data>,
): Bun.TCPSocketListener<Data> {
  try {
    return Bun.listen<Data>({ ...handlers, hostname, port });
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot listen on ${socketAddress(hostname, port)}: ${why(error)}`, {
      cause: error,
    });
  }
}

function why(error: unknown): string {
  if (isSystemError(error, "EADDRINUSE")) {
    return "the port is in use. Stop the program that uses it, or choose another port with --port (0 picks a free one).";
  }
  if (isSystemError(error, "EADDRNOTAVAIL")) {
    return "this machine has no such address. Use one of its addresses with --interface, or 0.0.0.0 for all.";
  }
  if (isSystemError(error, "EACCES", "EPERM")) {
    return "permission denied. Choose a port of 1024 or above with --port.";
  }
  if (error instanceof RangeError) return "the port must be 0 to 65535.";
  return "this machine has no such address or name. Use one of its addresses with --interface, or 0.0.0.0 for all.";
}

function together<Data>(listeners: readonly Bun.TCPSocketListener<Data>[]): Bound {
  deepenBacklog(listeners.map(descriptorOf));
  limitUnsent(listeners.map(descriptorOf));
  return {
    port: listeners[0]?.port ?? 0,
    addresses: listeners.map((listener) => socketAddress(listener.hostname, listener.port)),
    get descriptors() {
      return listeners.map(descriptorOf);
    },
    stop: () => {
      for (const listener of listeners) listener.stop(false);
    },
  };
}
