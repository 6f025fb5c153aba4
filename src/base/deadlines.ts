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
 * Many deadlines on one timer, at a resolution of `tickMs`: arming and disarming are a set operation each,
 * where a `setTimeout` per request would cost a heap operation and a closure. Nothing fires early; it may
 * fire up to two ticks late. The timer runs only while something is armed and does not keep the process alive.
 */
export class DeadlineWheel {
  readonly #slots = new Map<number, Set<Armed>>();
  readonly #tickMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #next = 0;

  constructor(tickMs = 20) {
    this.#tickMs = tickMs;
  }

  /** Calls `item.expire()` once, `ms` from now, unless disarmed before. */
  arm(item: Expirable, ms: number): Deadline {
    const slot = Math.floor((performance.now() + ms) / this.#tickMs) + 1;
    let items = this.#slots.get(slot);
    if (items === undefined) {
      items = new Set();
      this.#slots.set(slot, items);
    }
    const armed = new Armed(items, item);
    items.add(armed);
    this.#start();
    return armed;
  }

  #start(): void {
    if (this.#timer !== undefined) return;
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
    const items = this.#slots.get(slot);
    if (items === undefined) return;
    this.#slots.delete(slot);
    for (const armed of items) armed.item.expire();
  }
}

class Armed implements Deadline {
  readonly item: Expirable;
  readonly #slot: Set<Armed>;

  constructor(slot: Set<Armed>, item: Expirable) {
    this.#slot = slot;
    this.item = item;
  }

  disarm(): void {
    this.#slot.delete(this);
  }
}

/** One wheel serves the whole process. */
export const deadlines = new DeadlineWheel();
