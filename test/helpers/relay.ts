import { Outbox } from "./outbox.ts";
import { limitReceiveBuffer } from "./receive-buffer.ts";

/** One direction of a link. Every field may be changed while connections are open. */
export interface LinkOptions {
  /** How much later each byte arrives. */
  delayMs: number;
  /** How much arrives in a second; the rest waits in the relay's queue. */
  bytesPerSecond: number;
  /** From this much in the queue, the relay stops reading. Unlimited by default, as a bloated buffer is. */
  maxQueuedBytes: number;
  /**
   * A black hole: nothing that goes this way arrives, not even the end of a connection. When the hole closes, what
   * it held arrives late, as TCP would send it again.
   */
  isHole: boolean;
}

/** Towards the server, and towards the client. */
export type Way = "up" | "down";

/**
 * A bad network in front of a server: delay, a limited rate, black holes, and cuts, each direction for itself. The
 * bytes arrive whole and in order, and so do the ends of connections: FIN as FIN, a reset as a reset.
 */
export class Relay implements Disposable {
  readonly up: Link;
  readonly down: Link;
  /** Connections that were accepted so far. */
  connections = 0;
  readonly #listener: Bun.TCPSocketListener<Side>;
  readonly #targetPort: number;
  readonly #pairs = new Set<Pair>();

  /** `both` is for both directions; `up` and `down` override it. */
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

  /** Connections that are open now, at either end. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Bytes that have entered the relay and not left it. */
  get queuedBytes(): number {
    return [...this.#pairs].reduce(
      (sum, { lanes }) => sum + lanes.up.queuedBytes + lanes.down.queuedBytes,
      0,
    );
  }

  /** Holes in both directions, or none. */
  blackHole(isHole: boolean): void {
    this.up.set({ isHole });
    this.down.set({ isHole });
  }

  /** Resets every connection at both ends, now. */
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
          // Else the kernel keeps megabytes ahead of a queue that is to be short.
          const { maxQueuedBytes } = this.down;
          if (Number.isFinite(maxQueuedBytes)) limitReceiveBuffer(server, maxQueuedBytes);
          pair.lanes.up.leadTo(server);
        },
      },
    }).catch(() => pair.cut());
  }
}

/** The settings of one direction. */
class Link implements Readonly<LinkOptions> {
  delayMs = 0;
  bytesPerSecond = Number.POSITIVE_INFINITY;
  maxQueuedBytes = Number.POSITIVE_INFINITY;
  isHole = false;
  readonly #changed: () => void;
  /** Bytes that went this way, over all connections. */
  forwarded = 0;

  constructor(options: Partial<LinkOptions>, changed: () => void) {
    this.#changed = changed;
    Object.assign(this, options);
  }

  set(options: Partial<LinkOptions>): void {
    Object.assign(this, options);
    this.#changed();
  }
}

/** What a socket of the relay is: where its bytes go. */
interface Side {
  readonly pair: Pair;
  readonly way: Way;
  /** It has sent its FIN. */
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

  /** The server's socket is the source of what goes down. */
  data(socket: Bun.Socket<Side>, chunk: Uint8Array): void {
    const lane = this.lanes[socket.data.way];
    lane.source = socket;
    lane.add(chunk.slice());
  }

  ended(socket: Bun.Socket<Side>): void {
    socket.data.hasEnded = true;
    this.lanes[socket.data.way].add("fin");
  }

  /** In order when both FINs have passed, and a reset otherwise. Bun tells of no FIN that comes as the second one. */
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

interface Item {
  /** When it has come all the way, but for what is ahead of it. */
  readonly dueAt: number;
  readonly what: Uint8Array | "fin" | "reset";
}

/** One direction of one connection. */
class Lane {
  source: Bun.Socket<Side> | undefined;
  /** The FIN has been handed on. */
  isOver = false;
  queuedBytes = 0;
  readonly #link: Link;
  readonly #ended: () => void;
  readonly #reset: () => void;
  readonly #outbox = new Outbox();
  #target: Bun.Socket<Side> | undefined;
  #items: Item[] = [];
  #freeAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isCut = false;
  #isPaused = false;

  constructor(
    link: Link,
    source: Bun.Socket<Side> | undefined,
    { ended, cut }: { ended: () => void; cut: () => void },
  ) {
    this.#link = link;
    this.#ended = ended;
    this.source = source;
    this.#reset = cut;
  }

  leadTo(target: Bun.Socket<Side>): void {
    this.#target = target;
    if (this.#isCut) target.terminate();
    else this.pump();
  }

  add(what: Item["what"]): void {
    if (this.#isCut) return;
    this.#items.push({ dueAt: performance.now() + this.#link.delayMs, what });
    if (typeof what === "object") this.queuedBytes += what.length;
    this.pump();
  }

  /** Hands on what is due. */
  pump(): void {
    clearTimeout(this.#timer);
    while (!this.#isCut && this.#target !== undefined && !this.#link.isHole) {
      const first = this.#items[0];
      if (first === undefined) break;
      const now = performance.now();
      const waitMs = Math.max(first.dueAt, this.#freeAt) - now;
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        break;
      }
      this.#items.shift();
      this.#pass(first, now);
    }
    this.#slowDown();
  }

  #pass({ what, dueAt }: Item, now: number): void {
    if (what === "reset") this.#reset();
    else if (what === "fin") {
      this.isOver = true;
      this.flush();
    } else {
      const { bytesPerSecond } = this.#link;
      // A fiftieth of a second at a time, so that the rate is smooth.
      const room = Math.max(1, Math.ceil(bytesPerSecond / 50));
      const piece = what.subarray(0, room);
      if (piece.length < what.length) this.#items.unshift({ what: what.subarray(room), dueAt });
      this.#freeAt = now + (piece.length * 1_000) / bytesPerSecond;
      this.queuedBytes -= piece.length;
      this.#link.forwarded += piece.length;
      this.#outbox.add(piece);
      this.flush();
    }
  }

  flush(): void {
    if (this.#target === undefined || this.#isCut) return;
    this.#outbox.flush(this.#target);
    if (this.isOver && this.#outbox.bytes === 0) {
      this.#target.shutdown();
      this.#ended();
    }
  }

  #slowDown(): void {
    const isFull = this.queuedBytes >= this.#link.maxQueuedBytes;
    if (isFull === this.#isPaused || this.source === undefined || this.#isCut) return;
    this.#isPaused = isFull;
    if (isFull) this.source.pause();
    else this.source.resume();
  }

  cut(): void {
    this.#isCut = true;
    clearTimeout(this.#timer);
    this.#items = [];
    this.queuedBytes = 0;
    this.#target?.terminate();
  }
}

const events: Bun.SocketHandler<Side> = {
  data: (socket, chunk) => socket.data.pair.data(socket, chunk),
  drain: ({ data: { pair, way } }) => pair.lanes[way === "up" ? "down" : "up"].flush(),
  end: (socket) => socket.data.pair.ended(socket),
  close: (socket, error) => socket.data.pair.closed(socket, error ?? undefined),
  error: (socket) => socket.data.pair.lanes[socket.data.way].add("reset"),
};
