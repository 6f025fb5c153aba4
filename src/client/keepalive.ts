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
 * Pings a silent server, and ends the connection when nothing at all arrives for `pongMs` after that. The time counts from
 * when the ping has left this process, because it may be queued behind a large upload.
 */
export class Keepalive implements Expirable {
  readonly #channel: PingedChannel;
  readonly #options: KeepaliveOptions;
  #hasHeard = false;
  /** When the current ping was sent, or when the queue in front of it last got shorter. Undefined without a ping. */
  #pingedAt: number | undefined;
  #queuedBytes = 0;
  #deadline: Deadline;

  constructor(channel: PingedChannel, options: KeepaliveOptions) {
    this.#channel = channel;
    this.#options = options;
    this.#deadline = deadlines.arm(this, options.keepaliveMs);
  }

  /** Something has arrived, whatever it is. */
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
    // A deadline so long that it never counts: any data is as good as the pong.
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

/** The server did not answer a ping in time. On a slow link, the next connection gets more time. */
export class PongLateError extends VeripyError {
  constructor(pongMs: number) {
    super("unreachable", `The server has not answered a ping for ${pongMs} ms.`);
    this.name = "PongLateError";
  }
}
