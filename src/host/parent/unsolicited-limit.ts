import { VeripyError } from "../../base/errors.ts";
import type { Limits } from "../../base/limits.ts";
import { maxLogLine } from "../protocol.ts";
import { worstEscape } from "./payloads.ts";

/**
 * Limits the log lines of a module host, the only frames that belong to no request: more of them in a second than any
 * honest host sends are an attack. (Progress is limited for each call.)
 */
export class UnsolicitedLimit {
  readonly #maxFrames: number;
  readonly #maxLength: number;
  #second = 0;
  #frames = 0;
  #length = 0;

  constructor({ maxLogLinesPerSecond }: Pick<Limits, "maxLogLinesPerSecond">) {
    // Twice as many because the processes' seconds begin at different times, and some more because a busy server may
    // read the lines of several seconds at once.
    this.#maxFrames = 2 * maxLogLinesPerSecond + 1000;
    this.#maxLength = worstEscape * maxLogLine * (2 * maxLogLinesPerSecond + 100);
  }

  /** Throws `protocol_error` when a frame of that length, in UTF-16 units, is one too many. */
  count(length: number): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#frames = 0;
      this.#length = 0;
    }
    this.#frames += 1;
    this.#length += length;
    if (this.#frames > this.#maxFrames)
      throw new VeripyError("protocol_error", `more than ${this.#maxFrames} unsolicited frames a second`);
    if (this.#length > this.#maxLength)
      throw new VeripyError(
        "protocol_error",
        `more than ${this.#maxLength} characters a second in unsolicited frames`,
      );
  }
}
