import { connect, type Socket } from "node:net";
import { loggerOf } from "../base/log.ts";

const log = loggerOf("tls");

/** The outcome of a TCP connection attempt. At most one of the two is called, once. */
export interface TcpDialHandler {
  /** It is open. `upgrade` starts TLS over it. Call that once, in the same turn. */
  opened(upgrade: Upgrade): void;
  failed(error: Error): void;
}

export type Upgrade = <Data>(options: Bun.TLSUpgradeOptions<Data>) => Bun.Socket<Data>;

/**
 * A TCP connection that can be cancelled before it is open. `Bun.connect` can't: if no packet is answered, its socket
 * keeps the process alive for minutes. A socket of `node:net` can be destroyed, and contains a `Bun.Socket`.
 */
export class TcpDial {
  readonly #socket: Socket;

  constructor(host: string, port: number, handler: TcpDialHandler) {
    log.debug("Connecting to {host} port {port}.", { host, port });
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.once("lookup", (error, address) => {
      if (error === null) log.debug("{host} is {address}.", { host, address });
    });
    this.#socket.once("error", (error) => handler.failed(error));
    this.#socket.once("connect", () => {
      log.debug("TCP is connected to {host} port {port}.", { host, port });
      handler.opened((options) => {
        const [, tls] = insideOf(this.#socket).upgradeTLS(options);
        return tls;
      });
    });
  }

  /** Closes a connection that is not upgraded, or cancels the attempt. */
  cancel(): void {
    this.#socket.destroy();
  }
}

/** Bun's types omit it. */
function insideOf(socket: Socket): Bun.Socket<unknown> {
  return (socket as unknown as { _handle: Bun.Socket<unknown> })._handle;
}
