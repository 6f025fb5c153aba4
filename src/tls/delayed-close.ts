import { deadlines, type Expirable } from "../base/deadlines.ts";
import { descriptorOf } from "./descriptors.ts";

const delayMs = 200;
const maxWaiting = 2_048;

/**
 * Closes refused connections a little later, and reads nothing from them until then. A stranger that reconnects at once
 * would otherwise be accepted again in the same turn of the event loop. That turn would not end while every client
 * waits: 4,345 connections in 275 ms were measured.
 */
export class DelayedClose {
  readonly #maxDescriptor: number;
  readonly #waiting = new Set<Waiting>();

  /** A connection whose descriptor is `maxDescriptor` or above is closed at once, because few are left. */
  constructor(maxDescriptor: number) {
    this.#maxDescriptor = maxDescriptor;
  }

  /** `isLetIn` is called after the delay. If it returns true, the connection goes on as if it had just come. */
  add(socket: Bun.Socket<unknown>, isLetIn: () => boolean = () => false): void {
    if (this.#waiting.size >= maxWaiting || descriptorOf(socket) >= this.#maxDescriptor) {
      if (!isLetIn()) socket.terminate();
      return;
    }
    // Otherwise TLS would continue the handshake, the most expensive part.
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

  /** Closes it without calling `isLetIn`. */
  close(): void {
    this.#all.delete(this);
    this.#socket.terminate();
  }
}
