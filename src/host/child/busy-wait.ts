import { availableParallelism } from "node:os";

/** A streak: this many calls one at a time, each at most `closeMs` after the one before. */
const minStreak = 16;
const closeMs = 0.3;
/** After a busy wait in vain, the next this many calls are waited for asleep. */
const pauseAfterVain = 4;
/** The longest busy wait. In a streak the next call comes in about half this time. */
const spinMs = 0.2;

/**
 * Keeps a host awake for a moment after each call of a streak, when a client makes the next call as soon as it has its
 * answer: putting the process to sleep and waking it takes longer than such a call. A wait in vain, or two calls at a
 * time, end the streak.
 */
export class BusyWait {
  readonly #canHelp = availableParallelism() > 1;
  #idleSince = Number.NEGATIVE_INFINITY;
  #isIdle = true;
  #streak = 0;
  #isSpinning = false;
  readonly #yieldProcessor: (() => void) | undefined;
  readonly #now: () => number;

  /** `yieldProcessor` lets another process that waits for this processor go first. `now` is in milliseconds. */
  constructor(yieldProcessor: (() => void) | undefined, now = () => performance.now()) {
    this.#yieldProcessor = yieldProcessor;
    this.#now = now;
  }

  callCame(): void {
    if (this.#isIdle && this.#now() - this.#idleSince < closeMs) this.#streak += 1;
    else this.#streak = 0;
    this.#isIdle = false;
  }

  /** The last call has ended. */
  becameIdle(): void {
    this.#isIdle = true;
    this.#idleSince = this.#now();
    if (!this.#canHelp || this.#isSpinning || this.#streak < minStreak) return;
    this.#isSpinning = true;
    setImmediate(this.#turn);
  }

  /** One turn of the event loop: it looks at the socket without waiting for it. */
  readonly #turn = (): void => {
    const isInVain = this.#isIdle && this.#now() - this.#idleSince >= spinMs;
    if (this.#isIdle && !isInVain) {
      // The server or the client may be waiting for this very processor.
      this.#yieldProcessor?.();
      setImmediate(this.#turn);
      return;
    }
    this.#isSpinning = false;
    if (isInVain) this.#streak = minStreak - pauseAfterVain;
  };
}
