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
 * ticks late. The timer runs only while something is armed and does not keep the process alive.
 */
export class DeadlineWheel {
  /** What is armed, by the tick in which it fires: each a ring of entries with this one as its head. */
  readonly #slots = new Map<number, Entry>();
  readonly #tickMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #next = 0;

  constructor(tickMs = 20) {
    this.#tickMs = tickMs;
  }

  /** Calls `item.expire()` once, `ms` from `now`, by `performance.now()`, unless disarmed before. */
  arm(item: Expirable, ms: number, now = performance.now()): Deadline {
    const slot = Math.max(Math.floor((now + ms) / this.#tickMs) + 1, this.#next);
    let head = this.#slots.get(slot);
    if (head === undefined) {
      head = new Entry(undefined);
      this.#slots.set(slot, head);
    }
    const entry = new Entry(item);
    entry.joinBefore(head);
    if (this.#timer === undefined) this.#start();
    return entry;
  }

  #start(): void {
    this.#next = Math.floor(performance.now() / this.#tickMs);
    this.#timer = setInterval(() => this.#turn(), this.#tickMs);
    this.#timer.unref();
  }

  #turn(): void {
    const now = Math.floor(performance.now() / this.#tickMs);
    // After a suspended machine wakes up, walking every missed tick would take long; the slots are few.
    if (now - this.#next > this.#slots.size) {
      for (const slot of [...this.#slots.keys()].sort((a, b) => a - b)) if (slot <= now) this.#fire(slot);
    } else {
      for (let slot = this.#next; slot <= now; slot++) this.#fire(slot);
    }
    this.#next = now + 1;
    if (this.#slots.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

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

/** A place in a ring. Out of one it is a ring of its own, so leaving twice does nothing. */
class Entry implements Deadline {
  readonly item: Expirable | undefined;
  next: Entry = this;
  #previous: Entry = this;

  constructor(item: Expirable | undefined) {
    this.item = item;
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
