import { availableParallelism } from "node:os";

/** A call within this time of the last answer makes another one likely; a host waits awake for as long. */
const closeMs = 0.3;

/**
 * Keeps a host awake for a moment after a call that followed closely on the one before, because being woken takes
 * longer than a short call does. A host that has waited in vain sleeps until two calls come close to each other again,
 * and one with several calls at a time does not wait at all.
 */
export class BusyWait {
  readonly #canHelp = availableParallelism() > 1;
  readonly #yieldProcessor: (() => void) | undefined;
  #idleSince = Number.NEGATIVE_INFINITY;
  #isIdle = true;
  #followsClosely = false;
  #isWaiting = false;

  /** `yieldProcessor` lets another process go first on this processor: it may be the one that is waited for. */
  constructor(yieldProcessor: (() => void) | undefined) {
    this.#yieldProcessor = yieldProcessor;
  }

  callCame(): void {
    this.#followsClosely = this.#isClose();
    this.#isIdle = false;
  }

  /** The last call has ended. */
  becameIdle(): void {
    this.#isIdle = true;
    this.#idleSince = performance.now();
    if (!this.#canHelp || this.#isWaiting || !this.#followsClosely) return;
    this.#isWaiting = true;
    setImmediate(this.#turn);
  }

  /** One turn of the event loop, which looks at the socket and does not sleep. */
  readonly #turn = (): void => {
    this.#isWaiting = this.#isClose();
    if (!this.#isWaiting) return;
    this.#yieldProcessor?.();
    setImmediate(this.#turn);
  };

  #isClose(): boolean {
    return this.#isIdle && performance.now() - this.#idleSince < closeMs;
  }
}
