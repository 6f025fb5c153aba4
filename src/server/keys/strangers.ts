import { type Deadline, deadlines } from "../../base/deadlines.ts";
import { VeripyError } from "../../base/errors.ts";
import { encodeFrame, type Frame, FrameDecoder } from "../../protocol/frame.ts";
import { errorPayload } from "../../protocol/messages.ts";
import { networkOf } from "../../tls/address.ts";
import type { Peer } from "../../tls/peer.ts";

/** What a stranger may cost: one short line, for a short time, and not many of them at once. */
const maxLineBytes = 1024;
export const maxStrangers = 16;

/**
 * The strangers that are connected, at most `maxStrangers`. Another one is always let in: it takes the place of the
 * oldest one of the address (in IPv6, of the /64) that has most of them, so an address that floods drops its own.
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
    // Not the one that is being answered, as its code may be spent by now.
    const oldest = [...this.#all]
      .filter(({ isBeingAnswered }) => !isBeingAnswered)
      .reduce((one, other) =>
        (counts.get(other.network) ?? 0) > (counts.get(one.network) ?? 0) ? other : one,
      );
    oldest.drop();
  }
}

export interface StrangerOptions {
  /** Its line, once. */
  onLine(frame: Frame): void;
  onClosed(): void;
}

/** One connection of a client that is not trusted yet: it may say one line, and nothing more of it is read. */
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
    // Its code may be spent by now, which it must learn; the answer ends the connection.
    if (this.isBeingAnswered) return;
    this.peer.duplex.abort(new VeripyError("timeout", `Did not join within ${this.#withinMs} ms.`));
  }

  /** Makes room for another one. */
  drop(): void {
    this.peer.duplex.abort(new VeripyError("busy", "Too many strangers."));
  }

  close(): void {
    this.peer.duplex.close();
  }

  /** The last word. */
  answer(ref: string, json: string): void {
    this.#end(encodeFrame("sys", "join_resp", ref, json));
  }

  #read(chunk: Uint8Array): void {
    if (this.#hasSpoken) {
      // Bun reads a paused socket again once this side has said its end, to see the other's.
      this.peer.duplex.abort(new VeripyError("protocol_error", "Nothing may follow the one line."));
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
