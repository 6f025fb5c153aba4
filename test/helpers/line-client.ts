import { eventually } from "./within.ts";

export interface LineClientOptions {
  readonly port: number;
  readonly host?: string;
  /** Without one the client shows no certificate. */
  readonly identity?: { readonly keyPem: string; readonly certificatePem: string };
  /** Counts what arrives instead of keeping it. */
  readonly keepsLines?: boolean;
}

/** A TLS peer without manners: it sends what it is told to, and reads when it is told to. */
export class LineClient implements Disposable {
  readonly lines: string[] = [];
  /** Application bytes that came. */
  received = 0;
  isClosed = false;
  /** Resolves at the end of the connection, whichever way it comes. */
  readonly closed: Promise<void>;
  readonly #keepsLines: boolean;
  readonly #decoder = new TextDecoder();
  readonly #shaken = Promise.withResolvers<void>();
  readonly #end: () => void;
  #socket: Bun.Socket<LineClient> | undefined;
  #unsent: Uint8Array[] = [];
  #rest = "";

  private constructor(keepsLines: boolean) {
    this.#keepsLines = keepsLines;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#end = resolve;
  }

  /** Resolves after the TLS handshake, or when there will be none: see `isClosed`. */
  static async connect(options: LineClientOptions): Promise<LineClient> {
    const { port, host = "127.0.0.1", identity, keepsLines = true } = options;
    const client = new LineClient(keepsLines);
    Bun.connect<LineClient>({
      hostname: host,
      port,
      data: client,
      tls: {
        rejectUnauthorized: false,
        ...(identity === undefined ? {} : { key: identity.keyPem, cert: identity.certificatePem }),
      },
      socket: handlers,
    }).catch(() => client.#ended());
    await client.#shaken.promise;
    return client;
  }

  /** What the socket does not take at once follows by itself. */
  send(data: string | Uint8Array): void {
    this.#unsent.push(typeof data === "string" ? new TextEncoder().encode(data) : data);
    this.#flush();
  }

  /** Bytes that the other end has not taken yet. */
  get unsentBytes(): number {
    return this.#unsent.reduce((sum, { length }) => sum + length, 0);
  }

  /** The first line that matches, come already or yet to come. */
  line(pattern: RegExp | string, ms = 5_000): Promise<string> {
    const matches = (line: string) =>
      typeof pattern === "string" ? line.startsWith(pattern) : pattern.test(line);
    return eventually(`a line like ${pattern}`, () => this.lines.find(matches), ms);
  }

  /** Stops reading: what the other end sends stays with it, once the system's buffers are full. */
  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Says goodbye: `close_notify`, then the end of the stream. */
  end(): void {
    this.#socket?.end();
  }

  /** Says no goodbye. */
  terminate(): void {
    this.#socket?.terminate();
    this.#ended();
  }

  [Symbol.dispose](): void {
    this.terminate();
  }

  #flush(): void {
    while (this.#socket !== undefined && !this.isClosed) {
      const first = this.#unsent[0];
      if (first === undefined) return;
      const taken = this.#socket.write(first);
      if (taken <= 0 && first.length > 0) return;
      if (taken < first.length) {
        this.#unsent[0] = first.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
  }

  #data(chunk: Uint8Array): void {
    this.received += chunk.length;
    if (!this.#keepsLines) return;
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    this.lines.push(...lines);
  }

  #ended(): void {
    this.isClosed = true;
    this.#shaken.resolve();
    this.#end();
  }

  static readonly #events = {
    shaken(client: LineClient, socket: Bun.Socket<LineClient>): void {
      client.#socket = socket;
      client.#shaken.resolve();
      client.#flush();
    },
    data: (client: LineClient, chunk: Uint8Array): void => client.#data(chunk),
    drain: (client: LineClient): void => client.#flush(),
    ended: (client: LineClient): void => client.#ended(),
  };

  static readonly handlers: Bun.SocketHandler<LineClient> = {
    handshake: (socket) => LineClient.#events.shaken(socket.data, socket),
    data: (socket, chunk) => LineClient.#events.data(socket.data, chunk),
    drain: (socket) => LineClient.#events.drain(socket.data),
    error: (socket) => LineClient.#events.ended(socket.data),
    close: (socket) => LineClient.#events.ended(socket.data),
  };
}

const { handlers } = LineClient;
