/** Something with a deadline. */
export interface Expirable {
  /** Called when the deadline has passed. Must not throw: other deadlines fire in the same loop. */
  expire(): void;
}

/** An armed deadline. Disarming it twice, or after it has fired, does nothing. */
export interface Deadline {
  disarm(): void;
}

/**
 * Many deadlines on one timer, with a resolution of `tickMs`. Arming and disarming take a few assignments each, where
 * a `setTimeout` per request would cost a heap operation and a closure. A deadline never fires early, and at most two
 * ticks late. There is a timer only while something is armed, and it does not keep the process alive.
 */
export class DeadlineWheel {
  /** Armed deadlines by the tick in which they fire. Each list is a ring that begins and ends at its head. */
  readonly #slots = new Map<number, Entry>();
  readonly #tickMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The tick for which the timer is set: that of the earliest armed deadline, or an earlier one. */
  #wakesAt = Number.POSITIVE_INFINITY;

  constructor(tickMs = 20) {
    this.#tickMs = tickMs;
  }

  /** Calls `item.expire()` once, `ms` after `now` (`performance.now()`), unless it is disarmed first. */
  arm(item: Expirable, ms: number, now = performance.now()): Deadline {
    const slot = Math.floor((now + ms) / this.#tickMs) + 1;
    let head = this.#slots.get(slot);
    if (head === undefined) {
      head = new Entry(undefined);
      this.#slots.set(slot, head);
    }
    const entry = new Entry(item);
    entry.joinBefore(head);
    if (slot < this.#wakesAt) this.#wakeAt(slot);
    return entry;
  }

  #wakeAt(slot: number): void {
    this.#wakesAt = slot;
    clearTimeout(this.#timer);
    const ms = Math.ceil(slot * this.#tickMs - performance.now());
    this.#timer = setTimeout(this.#turn, Math.min(Math.max(ms, 0), longestSleepMs));
    this.#timer.unref();
  }

  readonly #turn = (): void => {
    this.#wakesAt = Number.POSITIVE_INFINITY;
    const now = Math.floor(performance.now() / this.#tickMs);
    const due = [...this.#slots.keys()].filter((slot) => slot <= now);
    for (const slot of due.sort((a, b) => a - b)) this.#fire(slot);
    let next = Number.POSITIVE_INFINITY;
    for (const [slot, head] of this.#slots) {
      if (head.isAlone) this.#slots.delete(slot);
      else next = Math.min(next, slot);
    }
    if (next < this.#wakesAt) this.#wakeAt(next);
  };

  #fire(slot: number): void {
    const head = this.#slots.get(slot);
    if (head === undefined) return;
    this.#slots.delete(slot);
    // Always take the first entry, because `expire` may disarm others.
    for (let entry = head.next; entry !== head; entry = head.next) {
      entry.disarm();
      entry.item?.expire();
    }
  }
}

/** The runtime fires timers of more than 24 days at once. */
const longestSleepMs = 3_600_000;

/** A link of a ring. Once removed it forms a ring of its own, so removing it twice does nothing. */
class Entry implements Deadline {
  readonly item: Expirable | undefined;
  next: Entry = this;
  #previous: Entry = this;

  constructor(item: Expirable | undefined) {
    this.item = item;
  }

  get isAlone(): boolean {
    return this.next === this;
  }

  joinBefore(head: Entry): void {
    this.next = head;
    this.#previous = head.#previous;
    head.#previous.next = this;
    head.#previous = this;
  }

  disarm(): void {
    this.#previous.next = this.next;
    this.next.#previous = this.#previous;
    this.next = this;
    this.#previous = this;
  }
}

/** One wheel serves the whole process. */
export const deadlines = new DeadlineWheel();
