/** What a deadline wheel holds: anything that can be told its time is up. */
export interface Expirable {
  /** Must not throw: it runs among everybody else's deadlines. */
  expire(): void;
}

/** A handle to one armed deadline; disarming twice, or after it fired, does nothing. */
export interface Deadline {
  disarm(): void;
}

/**
 * Many deadlines on one timer, at a resolution of `tickMs`: arming and disarming are a few assignments each, where
 * a `setTimeout` per request would cost a heap operation and a closure. Nothing fires early; it may fire up to two
 * ticks late. The timer is set for the earliest deadline only, so that whoever waits for nothing sleeps, and does not
 * keep the process alive.
 */
export class DeadlineWheel {
  /** What is armed, by the tick in which it fires: each a ring of entries with this one as its head. */
  readonly #slots = new Map<number, Entry>();
  readonly #tickMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The tick that the timer is set for. None that is armed is earlier. */
  #wakesAt = Number.POSITIVE_INFINITY;

  constructor(tickMs = 20) {
    this.#tickMs = tickMs;
  }

  /** Calls `item.expire()` once, `ms` from `now`, by `performance.now()`, unless disarmed before. */
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
    // The first one each time: what fires may disarm others.
    for (let entry = head.next; entry !== head; entry = head.next) {
      entry.disarm();
      entry.item?.expire();
    }
  }
}

/** Timers of more than 24 days would fire at once. */
const longestSleepMs = 3_600_000;

/** A place in a ring. Out of one it is a ring of its own, so leaving twice does nothing. */
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
