import { alpnList } from "../../src/tls/alpn.ts";
import { Outbox } from "./outbox.ts";
import { eventually } from "./within.ts";

export interface LineClientOptions {
  readonly port: number;
  readonly host?: string;
  /** Without it, the client shows no certificate. */
  readonly identity?: { readonly keyPem: string; readonly certificatePem: string };
  /** The ALPN name to ask for. */
  readonly protocol?: string;
  /** If false, only counts what arrives. */
  readonly keepsLines?: boolean;
}

/** A TLS peer that sends and reads exactly what a test tells it to. */
export class LineClient implements Disposable {
  readonly lines: string[] = [];
  /** The number of application bytes received. */
  received = 0;
  isClosed = false;
  /** Resolves when the connection ends, in whatever way. */
  readonly closed: Promise<void>;
  readonly #keepsLines: boolean;
  readonly #decoder = new TextDecoder();
  readonly #shaken = Promise.withResolvers<void>();
  readonly #end: () => void;
  #socket: Bun.Socket<LineClient> | undefined;
  readonly #outbox = new Outbox();
  #rest = "";

  private constructor(keepsLines: boolean) {
    this.#keepsLines = keepsLines;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#end = resolve;
  }

  /** Resolves after the TLS handshake, or when it has failed: see `isClosed`. */
  static async connect(options: LineClientOptions): Promise<LineClient> {
    const { port, host = "127.0.0.1", identity, protocol, keepsLines = true } = options;
    const client = new LineClient(keepsLines);
    Bun.connect<LineClient>({
      hostname: host,
      port,
      data: client,
      tls: {
        rejectUnauthorized: false,
        ...(identity === undefined ? {} : { key: identity.keyPem, cert: identity.certificatePem }),
        ...(protocol === undefined ? {} : { ALPNProtocols: alpnList(protocol) }),
      },
      socket: LineClient.#handlers,
    }).catch(() => client.#ended());
    await client.#shaken.promise;
    return client;
  }

  /** Sends everything, in time: what the socket does not take at once is kept. */
  send(data: string | Uint8Array): void {
    this.#outbox.add(data);
    this.#flush();
  }

  /** Bytes that the socket has not taken yet. */
  get unsentBytes(): number {
    return this.#outbox.bytes;
  }

  /** The first line that matches, received already or later. */
  line(pattern: RegExp | string, ms = 5_000): Promise<string> {
    const matches = (line: string) =>
      typeof pattern === "string" ? line.startsWith(pattern) : pattern.test(line);
    return eventually(`a line like ${pattern}`, () => this.lines.find(matches), ms);
  }

  /** Stops reading, so that the other end's output queues up once the system's buffers are full. */
  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Closes in order: `close_notify`, then the end of the stream. */
  end(): void {
    this.#socket?.end();
  }

  /** Closes without `close_notify`. */
  terminate(): void {
    this.#socket?.terminate();
    this.#ended();
  }

  [Symbol.dispose](): void {
    this.terminate();
  }

  #flush(): void {
    if (this.#socket !== undefined && !this.isClosed) this.#outbox.flush(this.#socket);
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

  #handshaken(socket: Bun.Socket<LineClient>): void {
    this.#socket = socket;
    this.#shaken.resolve();
    this.#flush();
  }

  /** Shared by all clients; inside the class, because they call private methods. */
  static readonly #handlers: Bun.SocketHandler<LineClient> = {
    // Also called for a failed handshake, whose close event follows.
    handshake: (socket) => {
      if (isComplete(socket)) socket.data.#handshaken(socket);
    },
    data: (socket, chunk) => socket.data.#data(chunk),
    drain: (socket) => socket.data.#flush(),
    error: (socket) => socket.data.#ended(),
    close: (socket) => socket.data.#ended(),
  };
}

/** `success` is false for every self-signed certificate. Keying material exists only after a handshake. */
function isComplete(socket: Bun.Socket<LineClient>): boolean {
  try {
    socket.exportKeyingMaterial(1, "EXPORTER-test");
    return true;
  } catch {
    return false;
  }
}
