import { connect, type Socket } from "node:net";

/** What becomes of a TCP connection under way; one of the two is called, at most once. */
export interface TcpDialHandler {
  /** It is open. `upgrade` begins TLS over it; call it in the same turn, and once. */
  opened(upgrade: Upgrade): void;
  failed(error: Error): void;
}

export type Upgrade = <Data>(options: Bun.TLSUpgradeOptions<Data>) => Bun.Socket<Data>;

/**
 * A TCP connection that can be called off before it is open. `Bun.connect` has no way to do that: where no packet is
 * answered, its socket lives for minutes and keeps the process alive. A socket of `node:net` can be destroyed, and
 * what is inside it is a `Bun.Socket`.
 */
export class TcpDial {
  readonly #socket: Socket;

  constructor(host: string, port: number, handler: TcpDialHandler) {
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.once("error", (error) => handler.failed(error));
    this.#socket.once("connect", () => {
      handler.opened((options) => {
        const [, tls] = insideOf(this.#socket).upgradeTLS(options);
        return tls;
      });
    });
  }

  /** Of a connection that is not upgraded: closes it, or gives it up while it is under way. */
  cancel(): void {
    this.#socket.destroy();
  }
}

/** Bun's types leave it out. */
function insideOf(socket: Socket): Bun.Socket<unknown> {
  return (socket as unknown as { _handle: Bun.Socket<unknown> })._handle;
}
