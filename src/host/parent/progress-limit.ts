import { type Deadline, deadlines, type Expirable } from "../../base/deadlines.ts";
import { VeripyError } from "../../base/errors.ts";
import { progressEveryMs } from "../protocol.ts";

/**
 * Progress of one call on its way from the module's process to the client: at most one report in `progressEveryMs`,
 * the newest, and the last one when the call ends. The process keeps to that by itself, unless it is hostile.
 */
export class ProgressLimit implements Expirable {
  readonly #startedAt: number;
  readonly #send: (json: string) => void;
  #count = 0;
  #sentAt = Number.NEGATIVE_INFINITY;
  #waiting: string | undefined;
  #deadline: Deadline | undefined;
  #isClosed = false;

  /** `startedAt`: when the call began, by `performance.now()`. */
  constructor(startedAt: number, send: (json: string) => void) {
    this.#startedAt = startedAt;
    this.#send = send;
  }

  /** Throws `protocol_error` for more reports than an honest process sends in the time that the call has run. */
  offer(json: string): void {
    const now = performance.now();
    this.#count += 1;
    // Twice as many, and some more: the first and the last come whatever the time.
    const most = 4 + Math.floor((2 * (now - this.#startedAt)) / progressEveryMs);
    if (this.#count > most)
      throw new VeripyError(
        "protocol_error",
        `more progress of a call than one report in ${progressEveryMs} ms`,
      );
    if (this.#isClosed) return;
    this.#waiting = json;
    const waitMs = this.#sentAt + progressEveryMs - now;
    if (waitMs <= 0) this.expire();
    else this.#deadline ??= deadlines.arm(this, waitMs, now);
  }

  /** Sends what waits; its time has come. */
  expire(): void {
    this.#deadline?.disarm();
    this.#deadline = undefined;
    if (this.#waiting === undefined) return;
    const json = this.#waiting;
    this.#waiting = undefined;
    this.#sentAt = performance.now();
    this.#send(json);
  }

  /** The call's answer is next: sends the report that waits, and none after it. */
  close(): void {
    this.expire();
    this.#isClosed = true;
  }
}
