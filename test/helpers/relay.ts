import { limitReceiveBuffer } from "./receive-buffer.ts";
import { Lane, Link, type LinkOptions } from "./relay-link.ts";

/** To the server, or to the client. */
export type Way = "up" | "down";

/**
 * A bad network in front of a server, with delays, limited rates, black holes and cuts, set for each direction. Bytes
 * arrive complete and in order, and so do the ends of connections: a FIN as a FIN, a reset as a reset.
 */
export class Relay implements Disposable {
  readonly up: Link;
  readonly down: Link;
  /** Connections accepted so far. */
  connections = 0;
  readonly #listener: Bun.TCPSocketListener<Side>;
  readonly #targetPort: number;
  readonly #pairs = new Set<Pair>();

  /** `both` applies to both directions; `up` and `down` override it. */
  constructor(
    targetPort: number,
    options: { both?: Partial<LinkOptions>; up?: Partial<LinkOptions>; down?: Partial<LinkOptions> } = {},
  ) {
    this.#targetPort = targetPort;
    const changed = () => this.#changed();
    this.up = new Link({ ...options.both, ...options.up }, changed);
    this.down = new Link({ ...options.both, ...options.down }, changed);
    this.#listener = Bun.listen<Side>({
      hostname: "127.0.0.1",
      port: 0,
      allowHalfOpen: true,
      socket: { ...events, open: (socket) => this.#opened(socket) },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Connections that are open, at either end. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Bytes that are inside the relay. */
  get queuedBytes(): number {
    return [...this.#pairs].reduce(
      (sum, { lanes }) => sum + lanes.up.queuedBytes + lanes.down.queuedBytes,
      0,
    );
  }

  /** Makes a black hole of both directions, or of none. */
  blackHole(isHole: boolean): void {
    this.up.set({ isHole });
    this.down.set({ isHole });
  }

  /** Ends the client's half of every connection; the server may still answer. */
  endUp(): void {
    for (const { lanes } of this.#pairs) lanes.up.add("fin");
  }

  /** Resets every connection at both ends. */
  cutAll(): void {
    for (const pair of [...this.#pairs]) pair.cut();
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
    this.cutAll();
  }

  #changed(): void {
    for (const { lanes } of this.#pairs) {
      lanes.up.pump();
      lanes.down.pump();
    }
  }

  #opened(client: Bun.Socket<Side>): void {
    this.connections += 1;
    const pair = new Pair(client, this, () => this.#pairs.delete(pair));
    this.#pairs.add(pair);
    client.data = { pair, way: "up", hasEnded: false };
    Bun.connect<Side>({
      hostname: "127.0.0.1",
      port: this.#targetPort,
      allowHalfOpen: true,
      data: { pair, way: "down", hasEnded: false },
      socket: {
        ...events,
        open: (server) => {
          // Otherwise the kernel would buffer megabytes in front of a short queue.
          const { maxQueuedBytes } = this.down;
          if (Number.isFinite(maxQueuedBytes)) limitReceiveBuffer(server, maxQueuedBytes);
          pair.lanes.up.leadTo(server);
        },
      },
    }).catch(() => pair.cut());
  }
}

/** A socket of the relay, and the way its bytes go. */
interface Side {
  readonly pair: Pair;
  readonly way: Way;
  /** Its peer has sent a FIN. */
  hasEnded: boolean;
}

/** One connection through the relay. */
class Pair {
  readonly lanes: Readonly<Record<Way, Lane>>;
  readonly #client: Bun.Socket<Side>;
  readonly #gone: () => void;

  constructor(client: Bun.Socket<Side>, { up, down }: Relay, gone: () => void) {
    this.#client = client;
    this.#gone = gone;
    const on = { ended: () => this.#endedOneWay(), cut: () => this.cut() };
    this.lanes = { up: new Lane(up, client, on), down: new Lane(down, undefined, on) };
    this.lanes.down.leadTo(client);
  }

  data(socket: Bun.Socket<Side>, chunk: Uint8Array): void {
    const lane = this.lanes[socket.data.way];
    lane.source = socket;
    lane.add(chunk.slice());
  }

  ended(socket: Bun.Socket<Side>): void {
    socket.data.hasEnded = true;
    this.lanes[socket.data.way].add("fin");
  }

  /** A reset, unless both FINs have passed. Bun has no event for a FIN that is the second one. */
  closed(socket: Bun.Socket<Side>, error: Error | undefined): void {
    const { up, down } = this.lanes;
    const { way, hasEnded } = socket.data;
    const hasShutDown = (way === "up" ? down : up).isOver;
    if (error !== undefined || !hasShutDown) this.lanes[way].add("reset");
    else if (!hasEnded) this.ended(socket);
  }

  #endedOneWay(): void {
    if (this.lanes.up.isOver && this.lanes.down.isOver) this.#gone();
  }

  cut(): void {
    this.#gone();
    for (const lane of [this.lanes.up, this.lanes.down]) lane.cut();
    this.#client.terminate();
  }
}

const events: Bun.SocketHandler<Side> = {
  data: (socket, chunk) => socket.data.pair.data(socket, chunk),
  drain: ({ data: { pair, way } }) => pair.lanes[way === "up" ? "down" : "up"].flush(),
  end: (socket) => socket.data.pair.ended(socket),
  close: (socket, error) => socket.data.pair.closed(socket, error ?? undefined),
  error: (socket) => socket.data.pair.lanes[socket.data.way].add("reset"),
};
