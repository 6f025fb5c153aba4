import { availableParallelism } from "node:os";

/** So many calls one at a time, each within so long after the one before, make it likely that another follows. */
const minStreak = 16;
const closeMs = 0.3;
/** After a wait in vain, so many calls are waited for asleep. */
const pauseAfterVain = 4;
/** How long it is waited for awake. It comes in half the time when nobody has to be woken. */
const spinMs = 0.2;

/**
 * Keeps a host awake for a moment after a call when calls come one after the other, each as soon as the one before
 * has been answered: to fall asleep and be woken takes longer than such a call does, for the server and a client on
 * the same machine too. A host that has waited in vain, or has had two calls at once, goes to sleep at once again
 * until the next such streak.
 */
export class BusyWait {
  readonly #canHelp = availableParallelism() > 1;
  #idleSince = Number.NEGATIVE_INFINITY;
  #isIdle = true;
  #streak = 0;
  #isSpinning = false;
  readonly #yieldProcessor: (() => void) | undefined;

  constructor(yieldProcessor: (() => void) | undefined) {
    this.#yieldProcessor = yieldProcessor;
  }

  callCame(): void {
    if (this.#isIdle && performance.now() - this.#idleSince < closeMs) this.#streak += 1;
    else this.#streak = 0;
    this.#isIdle = false;
  }

  /** The last call has ended. */
  becameIdle(): void {
    this.#isIdle = true;
    this.#idleSince = performance.now();
    if (!this.#canHelp || this.#isSpinning || this.#streak < minStreak) return;
    this.#isSpinning = true;
    setImmediate(this.#turn);
  }

  /** One turn of the event loop, which looks at the socket and does not wait. */
  readonly #turn = (): void => {
    const isInVain = this.#isIdle && performance.now() - this.#idleSince >= spinMs;
    if (this.#isIdle && !isInVain) {
      // The one it waits for may be waiting for this very processor.
      this.#yieldProcessor?.();
      setImmediate(this.#turn);
      return;
    }
    this.#isSpinning = false;
    if (isInVain) this.#streak = minStreak - pauseAfterVain;
  };
}
