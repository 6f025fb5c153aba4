import { messageOf, VeripyError } from "../base/errors.ts";
import type { Duplex } from "../protocol/duplex.ts";
import { type RawSocket, SocketDuplex } from "../protocol/socket-duplex.ts";

/** The descriptor of a module host's control channel, where the system can hand a socket to a child. */
export const controlDescriptor = 3;

/** After a goodbye, how long the other end has to take what is queued. */
const closeMs = 500;

/**
 * Wraps one end of the socket between a server and a module host. `maxQueuedBytes` bounds what waits for an end
 * that does not read.
 */
export async function connectDescriptor(fd: number, maxQueuedBytes: number): Promise<SocketDuplex> {
  let duplex: SocketDuplex | undefined;
  await Bun.connect({
    // `fd` is how Bun wraps an open socket; its types list only host and unix.
    fd,
    socket: {
      open(socket: RawSocket) {
        duplex = new SocketDuplex(socket, { maxQueuedBytes, closeMs });
      },
      data(_socket: RawSocket, chunk: Uint8Array) {
        duplex?.received(chunk);
      },
      drain() {
        duplex?.writable();
      },
      close() {
        duplex?.ended(undefined);
      },
      error(_socket: RawSocket, error: unknown) {
        duplex?.ended(new VeripyError("closed", messageOf(error), { cause: error }));
      },
    },
    // biome-ignore lint/suspicious/noExplicitAny: see `fd` above
  } as any);
  if (duplex === undefined) throw new Error(`descriptor ${fd} is no socket`);
  return duplex;
}

/** The child's end: descriptor 3, or the standard streams. */
export function connectControl(pipes: boolean): Promise<Duplex> {
  // What the server does not read stays in this process's memory, which is limited as a whole.
  if (!pipes) return connectDescriptor(controlDescriptor, Number.MAX_SAFE_INTEGER);
  return Promise.resolve(
    connectPipes(Bun.stdin.stream(), Bun.stdout.writer(), Number.MAX_SAFE_INTEGER, () => process.exit(0)),
  );
}

/** What `Bun.spawn`'s stdin and `Bun.stdout.writer()` have in common. */
export interface PipeWriter {
  write(data: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number>;
  end(): unknown;
}

/**
 * A pair of pipes as a duplex, for systems whose processes inherit no sockets (Windows). `terminate` is called
 * to end the other side at once.
 */
export function connectPipes(
  input: ReadableStream<Uint8Array>,
  output: PipeWriter,
  maxQueuedBytes: number,
  terminate: () => void,
): Duplex {
  const socket = new PipeSocket(input, output, terminate);
  const duplex = new SocketDuplex(socket, { maxQueuedBytes, closeMs });
  socket.start(duplex);
  return duplex;
}

class PipeSocket implements RawSocket {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #output: PipeWriter;
  readonly #terminate: () => void;
  #paused: Promise<void> | undefined;
  #unpause: (() => void) | undefined;
  /** A pipe accepts everything at once and reports later when it has been written. */
  #flushing = false;
  #ended = false;
  #duplex: SocketDuplex | undefined;

  constructor(input: ReadableStream<Uint8Array>, output: PipeWriter, terminate: () => void) {
    this.#reader = input.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    this.#output = output;
    this.#terminate = terminate;
  }

  start(duplex: SocketDuplex): void {
    this.#duplex = duplex;
    // The caller attaches in the same turn.
    queueMicrotask(() => void this.#read(duplex));
  }

  async #read(duplex: SocketDuplex): Promise<void> {
    try {
      for (;;) {
        await this.#paused;
        const { value, done } = await this.#reader.read();
        if (done) break;
        duplex.received(value);
      }
    } catch {
      // A broken pipe is an end like any other.
    }
    duplex.ended(undefined);
  }

  write(data: Uint8Array): number {
    if (this.#ended) return -1;
    if (this.#flushing) return 0;
    try {
      // The sink keeps what the pipe has not taken; the caller does not reuse `data`.
      this.#output.write(data);
      const flushed = this.#output.flush();
      if (flushed instanceof Promise) {
        this.#flushing = true;
        flushed.then(this.#flushed, this.#flushed);
      }
    } catch {
      return -1;
    }
    return data.length;
  }

  readonly #flushed = (): void => {
    this.#flushing = false;
    this.#duplex?.writable();
  };

  shutdown(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#output.end();
  }

  terminate(): void {
    this.shutdown();
    this.#terminate();
  }

  pause(): void {
    this.#paused ??= new Promise((resolve) => {
      this.#unpause = resolve;
    });
  }

  resume(): void {
    this.#unpause?.();
    this.#paused = undefined;
  }
}
