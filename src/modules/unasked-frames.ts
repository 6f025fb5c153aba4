import { VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { progressEveryMs } from "./host-protocol.ts";

/** Frames that are no answers: more of them in a second than any honest host sends are an attack. */
export class UnaskedFrames {
  readonly #maxPerSecond: number;
  #second = 0;
  #count = 0;

  constructor(limits: Readonly<Limits>) {
    const progress = (limits.maxCallsInFlight * 1000) / progressEveryMs;
    // Twice as many, because the two processes' seconds begin at different times, and every call may report once
    // however short it is.
    this.#maxPerSecond = 2 * (limits.maxLogLinesPerSecond + progress) + 1000;
  }

  count(): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#count = 0;
    }
    this.#count += 1;
    if (this.#count > this.#maxPerSecond)
      throw new VeripyError(
        "protocol_error",
        `more than ${this.#maxPerSecond} frames a second that answer nothing`,
      );
  }
}
