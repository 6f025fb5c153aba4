import { Outbox } from "./outbox.ts";

/** Which way bytes go: to the server or to the client. */
export type Direction = "up" | "down";

/**
 * A TCP proxy in front of a server, for faults of the network: it can cut a connection after an exact number of
 * bytes, reset it, close one half of it, or swallow everything from now on.
 */
export class TcpProxy implements Disposable {
  /** Bytes forwarded over the last connection. */
  readonly forwarded = { up: 0, down: 0 };
  /** How many they were after each chunk: where one end had said what it had to say for the moment. */
  ends: Record<Direction, number[]> = { up: [], down: [] };
  connections = 0;
  /** Cuts each new connection once this many bytes have gone that way. */
  cutAfter: { direction: Direction; bytes: number } | undefined;
  readonly #listener: Bun.TCPSocketListener<Side>;
  readonly #targetPort: number;
  readonly #delayMs: number;
  readonly #pairs = new Set<Pair>();
  #isHole = false;

  /** Everything arrives `delayMs` later, in both directions. */
  constructor(targetPort: number, { delayMs = 0 }: { readonly delayMs?: number } = {}) {
    this.#targetPort = targetPort;
    this.#delayMs = delayMs;
    this.#listener = Bun.listen<Side>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        ...events,
        open: (socket) => this.#opened(socket),
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Swallows all that comes, in both directions, and says nothing to anybody; or forwards again. */
  blackHole(isHole: boolean): void {
    this.#isHole = isHole;
  }

  /** Breaks every connection, with a reset to both ends. */
  cutAll(): void {
    for (const pair of [...this.#pairs]) this.cut(pair);
  }

  cut(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    pair.client?.terminate();
    pair.server?.terminate();
  }

  /** One end has closed. The other one learns of that, unless it vanishes in the hole like all else. */
  ended(pair: Pair): void {
    if (!this.#isHole) this.cut(pair);
  }

  /** Ends the client's half in order; the server may still answer. */
  endUp(): void {
    for (const pair of this.#pairs) pair.server?.shutdown();
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
    this.cutAll();
  }

  forward(pair: Pair, direction: Direction, chunk: Uint8Array): void {
    if (this.#isHole || !this.#pairs.has(pair)) return;
    const cut = this.cutAfter?.direction === direction ? this.cutAfter : undefined;
    const room = cut === undefined ? chunk.length : cut.bytes - this.forwarded[direction];
    const piece = chunk.length > room ? chunk.subarray(0, room) : chunk;
    this.forwarded[direction] += piece.length;
    this.ends[direction].push(this.forwarded[direction]);
    if (this.#delayMs === 0) pair.write(direction, piece);
    else {
      const late = piece.slice();
      setTimeout(() => pair.write(direction, late), this.#delayMs);
    }
    if (cut !== undefined && this.forwarded[direction] >= cut.bytes) this.cut(pair);
  }

  #opened(client: Bun.Socket<Side>): void {
    this.connections += 1;
    this.forwarded.up = this.forwarded.down = 0;
    this.ends = { up: [], down: [] };
    const pair = new Pair(this, client);
    client.data = { pair, direction: "up" };
    this.#pairs.add(pair);
    Bun.connect<Side>({
      hostname: "127.0.0.1",
      port: this.#targetPort,
      data: { pair, direction: "down" },
      socket: { ...events, open: (server) => pair.reached(server) },
    }).catch(() => this.cut(pair));
  }
}

interface Side {
  readonly pair: Pair;
  readonly direction: Direction;
}

class Pair {
  readonly proxy: TcpProxy;
  readonly client: Bun.Socket<Side>;
  server: Bun.Socket<Side> | undefined;
  readonly #waiting: Record<Direction, Outbox> = { up: new Outbox(), down: new Outbox() };

  constructor(proxy: TcpProxy, client: Bun.Socket<Side>) {
    this.proxy = proxy;
    this.client = client;
  }

  reached(server: Bun.Socket<Side>): void {
    this.server = server;
    this.flush("up");
  }

  write(direction: Direction, chunk: Uint8Array): void {
    this.#waiting[direction].add(chunk.slice());
    this.flush(direction);
  }

  flush(direction: Direction): void {
    const socket = direction === "up" ? this.server : this.client;
    if (socket !== undefined) this.#waiting[direction].flush(socket);
  }
}

const events: Bun.SocketHandler<Side> = {
  data: ({ data }, chunk) => data.pair.proxy.forward(data.pair, data.direction, chunk),
  drain: ({ data }) => data.pair.flush(data.direction === "up" ? "down" : "up"),
  close: ({ data }) => data.pair.proxy.ended(data.pair),
  error: ({ data }) => data.pair.proxy.ended(data.pair),
};
