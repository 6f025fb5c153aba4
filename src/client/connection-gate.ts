import { VeripyError } from "../base/errors.ts";
import { cancelled } from "../protocol/pending-request.ts";

/** A timer with a longer delay fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/** Holds back calls while a client has no connection, or one whose server is about to stop. */
export class ConnectionGate {
  #back = Promise.withResolvers<void>();
  #isOpen = true;
  #reason: VeripyError | undefined;

  constructor() {
    this.#back.resolve();
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The connection has broken, is about to end, or could not be made again. */
  shut(reason: VeripyError): void {
    this.#reason = reason;
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#back = Promise.withResolvers();
    // It is no unhandled rejection when no call is waiting.
    this.#back.promise.catch(() => {});
  }

  open(): void {
    this.#isOpen = true;
    this.#back.resolve();
  }

  /** There will be no further connection: waiting calls are rejected with `reason`. */
  end(reason: VeripyError): void {
    this.shut(reason);
    this.#back.reject(reason);
  }

  /** Resolves when there is a connection. Rejects with `unreachable` after `ms`, or with `cancelled`. */
  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) throw cancelled();
    const { promise: givenUp, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(cancelled());
    const timer = setTimeout(() => reject(this.#noConnection(ms)), Math.min(ms, longestTimerMs));
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#back.promise, givenUp]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #noConnection(ms: number): VeripyError {
    const why = this.#reason === undefined ? "" : ` ${this.#reason.message}`;
    return new VeripyError("unreachable", `There was no connection to the server for ${ms} ms.${why}`, {
      cause: this.#reason,
    });
  }
}
