import { type Deadline, deadlines, type Expirable } from "../../base/deadlines.ts";
import { VeripyError } from "../../base/errors.ts";
import { progressEveryMs } from "../protocol.ts";

/**
 * Limits the progress reports of one call that go to the client: the newest one every `progressEveryMs`, and the last
 * one when the call ends. The module's process keeps to that limit itself, unless it is hostile.
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

  /** Throws `protocol_error` for more reports than an honest process would have sent by now. */
  offer(json: string): void {
    const now = performance.now();
    this.#count += 1;
    // Twice as many, and a few more: the first and the last report come at any time.
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

  /** Sends the report that waits. */
  expire(): void {
    this.#deadline?.disarm();
    this.#deadline = undefined;
    if (this.#waiting === undefined) return;
    const json = this.#waiting;
    this.#waiting = undefined;
    this.#sentAt = performance.now();
    this.#send(json);
  }

  /** Call it before the call's answer is sent: sends the report that waits, and none after it. */
  close(): void {
    this.expire();
    this.#isClosed = true;
  }
}
