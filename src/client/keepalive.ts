import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import { VeripyError } from "../base/errors.ts";
import type { Channel } from "../protocol/channel.ts";

/** What a keepalive needs of a channel. */
type PingedChannel = Pick<Channel, "isClosed" | "queuedBytes" | "request" | "abort">;

export interface KeepaliveOptions {
  readonly keepaliveMs: number;
  readonly pongMs: number;
  onPong?(tookMs: number): void;
}

/**
 * Pings a server that is silent, and ends the connection when nothing at all comes for `pongMs` after that. The time
 * counts from when the ping has left this process: behind a large upload it is not late before it has left.
 */
export class Keepalive implements Expirable {
  readonly #channel: PingedChannel;
  readonly #options: KeepaliveOptions;
  #hasHeard = false;
  /** When the ping that is under way was sent, or the queue it waits in last moved; undefined without one. */
  #pingedAt: number | undefined;
  #queuedBytes = 0;
  #deadline: Deadline;

  constructor(channel: PingedChannel, options: KeepaliveOptions) {
    this.#channel = channel;
    this.#options = options;
    this.#deadline = deadlines.arm(this, options.keepaliveMs);
  }

  /** Something has come, whatever it is. */
  heard(): void {
    this.#hasHeard = true;
  }

  stop(): void {
    this.#deadline.disarm();
  }

  expire(): void {
    if (this.#channel.isClosed) return;
    if (this.#hasHeard) {
      this.#hasHeard = false;
      this.#pingedAt = undefined;
    } else if (this.#pingedAt === undefined) this.#ping();
    else if (this.#isLate()) return;
    const { keepaliveMs, pongMs } = this.#options;
    this.#deadline = deadlines.arm(this, this.#pingedAt === undefined ? keepaliveMs : pongMs / 10);
  }

  #ping(): void {
    const sentAt = performance.now();
    this.#pingedAt = sentAt;
    // Its own deadline never ends it: what counts is whether anything comes.
    this.#channel.request("sys", "ping", "{}", { timeoutMs: 3_600_000 }).then(
      () => this.#options.onPong?.(performance.now() - sentAt),
      () => {},
    );
    this.#queuedBytes = this.#channel.queuedBytes;
  }

  #isLate(): boolean {
    const now = performance.now();
    const { queuedBytes } = this.#channel;
    if (queuedBytes < this.#queuedBytes) this.#pingedAt = now;
    this.#queuedBytes = queuedBytes;
    const { pongMs } = this.#options;
    if (now - (this.#pingedAt ?? now) < pongMs) return false;
    this.#channel.abort(new PongLateError(pongMs));
    return true;
  }
}

/** The server was silent for too long. Over a slow link it may need more time. */
export class PongLateError extends VeripyError {
  constructor(pongMs: number) {
    super("unreachable", `The server has not answered a ping for ${pongMs} ms.`);
    this.name = "PongLateError";
  }
}
