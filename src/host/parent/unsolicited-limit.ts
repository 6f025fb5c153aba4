import { VeripyError } from "../../base/errors.ts";
import type { Limits } from "../../base/limits.ts";
import { TokenBucket } from "../../base/token-bucket.ts";
import { maxLogLine } from "../protocol.ts";
import { worstEscape } from "./payloads.ts";

/**
 * Limits the log lines of a module host, the only frames that belong to no request: more of them in a second than any
 * honest host sends are an attack. (Progress is limited for each call.)
 */
export class UnsolicitedLimit {
  readonly #frames: TokenBucket;
  readonly #characters: TokenBucket;

  constructor({ maxLogLinesPerSecond }: Pick<Limits, "maxLogLinesPerSecond">) {
    // More at once than an honest host may write, because a busy server reads several seconds' worth in one go.
    const maxLineLength = worstEscape * maxLogLine;
    this.#frames = new TokenBucket(2 * maxLogLinesPerSecond + 1000, maxLogLinesPerSecond);
    this.#characters = new TokenBucket(
      maxLineLength * (2 * maxLogLinesPerSecond + 100),
      maxLineLength * maxLogLinesPerSecond,
    );
  }

  /** Throws `protocol_error` when a frame of that length, in UTF-16 units, is one too many. */
  count(length: number): void {
    const now = performance.now();
    if (!this.#frames.take(1, now))
      throw new VeripyError("protocol_error", "more unsolicited frames a second than its log limit allows");
    if (!this.#characters.take(length, now))
      throw new VeripyError(
        "protocol_error",
        "more characters a second in unsolicited frames than its log limit allows",
      );
  }
}
