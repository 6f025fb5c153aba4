import { deadlines, type Expirable } from "../base/deadlines.ts";
import { descriptorOf } from "./descriptors.ts";

const delayMs = 200;
const maxWaiting = 2_048;

/**
 * Closes connections that are turned away, a little later, and reads nothing from them until then. A stranger who
 * comes back at once would otherwise be accepted again within the same turn of the event loop, and the turn would not
 * end: one of 4,345 connections and 275 ms was measured, and every client waited for it.
 */
export class DelayedClose {
  readonly #maxDescriptor: number;
  readonly #waiting = new Set<Waiting>();

  /** A connection with `maxDescriptor` or above is closed at once: descriptors are getting short. */
  constructor(maxDescriptor: number) {
    this.#maxDescriptor = maxDescriptor;
  }

  /** `isLetIn` is asked when the time is over: true if the connection is to go on, as if it came now. */
  add(socket: Bun.Socket<unknown>, isLetIn: () => boolean = () => false): void {
    if (this.#waiting.size >= maxWaiting || descriptorOf(socket) >= this.#maxDescriptor) {
      if (!isLetIn()) socket.terminate();
      return;
    }
    // TLS would otherwise go on with the handshake by itself, which costs more than all the rest.
    socket.pause();
    const waiting = new Waiting(socket, isLetIn, this.#waiting);
    this.#waiting.add(waiting);
    deadlines.arm(waiting, delayMs);
  }

  /** Closes all of them now. */
  flush(): void {
    for (const waiting of this.#waiting) waiting.close();
  }
}

class Waiting implements Expirable {
  readonly #socket: Bun.Socket<unknown>;
  readonly #isLetIn: () => boolean;
  readonly #all: Set<Waiting>;

  constructor(socket: Bun.Socket<unknown>, isLetIn: () => boolean, all: Set<Waiting>) {
    this.#socket = socket;
    this.#isLetIn = isLetIn;
    this.#all = all;
  }

  expire(): void {
    if (!this.#all.delete(this)) return;
    if (this.#isLetIn()) this.#socket.resume();
    else this.#socket.terminate();
  }

  /** Without another question. */
  close(): void {
    this.#all.delete(this);
    this.#socket.terminate();
  }
}
