import type { VeripyError } from "../base/errors.ts";
import { ConnectTimeoutError } from "../tls/connector.ts";
import { PongLateError } from "./keepalive.ts";

const pongMs = 10_000;
const maxFactor = 8;

/**
 * How long a client waits for a connection, for answers and for pongs. A link with a long queue answers late every
 * time; with the same deadline each time, it would be cut off again and again. So each deadline that passes doubles
 * the next ones, up to eight times, until a pong comes in good time.
 */
export class Patience {
  readonly #timeoutMs: number;
  #factor = 1;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** For a connection, and for every request but a call. */
  get timeoutMs(): number {
    return this.#timeoutMs * this.#factor;
  }

  get pongMs(): number {
    return pongMs * this.#factor;
  }

  /** A connection ended, or could not be made. */
  failed(reason: VeripyError): void {
    const isLate =
      reason instanceof PongLateError || reason instanceof ConnectTimeoutError || reason.code === "timeout";
    if (isLate) this.#factor = Math.min(maxFactor, this.#factor * 2);
  }

  /** A pong has come. */
  answered(tookMs: number): void {
    if (tookMs < pongMs / 2) this.#factor = 1;
  }
}
