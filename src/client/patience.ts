import type { VeripyError } from "../base/errors.ts";
import { ConnectTimeoutError } from "../tls/connector.ts";
import { PongLateError } from "./keepalive.ts";

const pongMs = 10_000;
const maxFactor = 8;

/**
 * How long a client waits for a connection, for answers and for pongs. On a link that is always slow, a fixed deadline would
 * end every connection. So each deadline that is missed doubles the next ones, up to eight times, until a pong is quick.
 */
export class Patience {
  readonly #timeoutMs: number;
  #factor = 1;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** For connecting, and for every request except `exec`. */
  get timeoutMs(): number {
    return this.#timeoutMs * this.#factor;
  }

  get pongMs(): number {
    return pongMs * this.#factor;
  }

  /** A connection ended, or an attempt to connect failed. */
  failed(reason: VeripyError): void {
    const isLate =
      reason instanceof PongLateError || reason instanceof ConnectTimeoutError || reason.code === "timeout";
    if (isLate) this.#factor = Math.min(maxFactor, this.#factor * 2);
  }

  /** A pong has arrived. */
  answered(tookMs: number): void {
    if (tookMs < pongMs / 2) this.#factor = 1;
  }
}
