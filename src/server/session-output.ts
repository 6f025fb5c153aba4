import type { Channel } from "../protocol/channel.ts";
import type { Lane } from "../protocol/fair-queue.ts";

/**
 * Frames about modules and about the server itself share this lane, so they stay in order: no client may hear of a
 * change first and then of the state before it. No REF is empty.
 */
export const stateLane = "";

/** What one client is sent, and whether it keeps up. */
export class SessionOutput {
  readonly #channel: Channel;
  readonly #onBehind: () => void;
  #isBehind = false;
  #hasMissedNews = false;

  /** `onBehind` is called when the client begins to take its answers too slowly. */
  constructor(channel: Channel, onBehind: () => void) {
    this.#channel = channel;
    this.#onBehind = onBehind;
  }

  /** The client takes its answers too slowly. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** Streams should wait. */
  get isFull(): boolean {
    return this.#channel.isFull;
  }

  send(api: string, type: string, ref: string, json: string, lane: Lane = ref): void {
    this.#channel.send(api, type, ref, json, lane);
    this.#checkQueue();
  }

  /** The same for a frame that is already a line, newline included. */
  sendLine(line: string, lane: Lane): void {
    this.#channel.sendLine(line, lane);
    this.#checkQueue();
  }

  /** Sends a frame that answers no request. A client that is behind gets one `sys:resync` for all of them, later. */
  sendNews(line: string): void {
    if (this.#isBehind) this.#hasMissedNews = true;
    else this.sendLine(line, stateLane);
  }

  /** To be called when the channel has drained. */
  drained(): void {
    this.#isBehind = this.#channel.isHigh;
    if (!this.#hasMissedNews || this.#isBehind) return;
    this.#hasMissedNews = false;
    this.send("sys", "resync", "missed", "{}", stateLane);
  }

  #checkQueue(): void {
    if (this.#isBehind || !this.#channel.isHigh) return;
    this.#isBehind = true;
    this.#onBehind();
  }
}
