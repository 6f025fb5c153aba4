import { type Deadline, deadlines } from "../../base/deadlines.ts";
import { VeripyError } from "../../base/errors.ts";
import { encodeFrame, type Frame, FrameDecoder } from "../../protocol/frame.ts";
import { errorPayload } from "../../protocol/messages.ts";
import { networkOf } from "../../tls/address.ts";
import type { Peer } from "../../tls/peer.ts";

/** A stranger may send one short line. */
const maxLineBytes = 1024;
export const maxStrangers = 16;

/**
 * The connected strangers, at most `maxStrangers`. A newcomer always gets in: it replaces the oldest stranger of the address
 * (in IPv6, of the /64) that has the most, so an address that floods drops its own.
 */
export class Strangers {
  readonly #all = new Set<Stranger>();

  [Symbol.iterator](): IterableIterator<Stranger> {
    return [...this.#all].values();
  }

  add(stranger: Stranger): void {
    if (this.#all.size >= maxStrangers) this.#dropOne(stranger.network);
    this.#all.add(stranger);
  }

  delete(stranger: Stranger): void {
    this.#all.delete(stranger);
  }

  #dropOne(newcomer: string): void {
    const counts = new Map<string, number>([[newcomer, 1]]);
    for (const { network } of this.#all) counts.set(network, (counts.get(network) ?? 0) + 1);
    // Not the one that is being answered: its code may already be spent.
    const oldest = [...this.#all]
      .filter(({ isBeingAnswered }) => !isBeingAnswered)
      .reduce((one, other) =>
        (counts.get(other.network) ?? 0) > (counts.get(one.network) ?? 0) ? other : one,
      );
    oldest.drop();
  }
}

export interface StrangerOptions {
  /** Called with its line, once. */
  onLine(frame: Frame): void;
  onClosed(): void;
}

/** A connection of a client that is not trusted yet. It may send one line; nothing after it is read. */
export class Stranger {
  readonly peer: Peer;
  readonly network: string;
  isBeingAnswered = false;
  readonly #options: StrangerOptions;
  readonly #decoder = new FrameDecoder(maxLineBytes);
  readonly #withinMs: number;
  readonly #deadline: Deadline;
  #hasSpoken = false;

  constructor(peer: Peer, withinMs: number, options: StrangerOptions) {
    this.peer = peer;
    this.network = networkOf(peer.remoteAddress);
    this.#withinMs = withinMs;
    this.#options = options;
    this.#deadline = deadlines.arm(this, withinMs);
    peer.duplex.attach({
      data: (chunk) => this.#read(chunk),
      closed: () => {
        this.#deadline.disarm();
        options.onClosed();
      },
    });
  }

  get isClosed(): boolean {
    return this.peer.duplex.isClosed;
  }

  expire(): void {
    // Its code may already be spent, which it must be told. The answer ends the connection.
    if (this.isBeingAnswered) return;
    this.peer.duplex.abort(new VeripyError("timeout", `Did not join within ${this.#withinMs} ms.`));
  }

  /** Ends the connection to make room for another. */
  drop(): void {
    this.peer.duplex.abort(new VeripyError("busy", "Too many strangers."));
  }

  close(): void {
    this.peer.duplex.close();
  }

  /** Sends the answer and ends the connection. */
  answer(ref: string, json: string): void {
    this.#end(encodeFrame("sys", "join_resp", ref, json));
  }

  #read(chunk: Uint8Array): void {
    if (this.#hasSpoken) {
      // Bun reads a paused socket again once this side has ended, to see the end of the other side.
      this.peer.duplex.abort(new VeripyError("protocol_error", "Only one line may be sent."));
      return;
    }
    try {
      this.#decoder.push(chunk, (frame) => this.#hear(frame));
    } catch (error) {
      if (!(error instanceof VeripyError)) throw error;
      if (this.#hasSpoken) return;
      this.#stopReading();
      const code = error.code === "too_large" ? "too_large" : "bad_request";
      this.#end(encodeFrame("sys", "error", "-", errorPayload(code, error.message)));
    }
  }

  #hear(frame: Frame): void {
    if (this.#hasSpoken) return;
    this.#stopReading();
    this.#options.onLine(frame);
  }

  #stopReading(): void {
    this.#hasSpoken = true;
    this.peer.duplex.pause();
  }

  #end(line: string): void {
    this.peer.duplex.write(line);
    this.peer.duplex.close();
  }
}
