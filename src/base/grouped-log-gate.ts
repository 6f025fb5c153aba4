import { LogGate } from "./log-gate.ts";

const windowMs = 10_000;
const maxPerGroup = 5;
const maxPerSecond = 10;
const maxGroups = 1_000;

interface Group {
  endsAt: number;
  readonly passed: Set<string>;
  suppressed: number;
}

/**
 * A log gate for lines that belong to a group, such as an address or a key: ten lines per second in all, and within ten
 * seconds five different lines of one group. However many others there are, they can't flood the log.
 */
export class GroupedLogGate {
  readonly #all: LogGate;
  readonly #now: () => number;
  /** In the order in which their windows began. */
  readonly #groups = new Map<string, Group>();

  /** `now` in milliseconds, monotonic. */
  constructor(now = () => performance.now()) {
    this.#all = new LogGate(maxPerSecond, maxPerSecond, now);
    this.#now = now;
  }

  /**
   * Undefined when the line must not be written. Otherwise how many lines of its group were suppressed since the last
   * one that was written. `line` tells different lines of a group apart.
   */
  pass(group: string, line: string): number | undefined {
    const state = this.#group(group);
    const isNew = state.passed.size < maxPerGroup && !state.passed.has(line);
    if (!isNew || this.#all.pass() === undefined) {
      state.suppressed += 1;
      return undefined;
    }
    state.passed.add(line);
    const { suppressed } = state;
    state.suppressed = 0;
    return suppressed;
  }

  #group(name: string): Group {
    const now = this.#now();
    const known = this.#groups.get(name);
    if (known !== undefined && now < known.endsAt) return known;
    this.#groups.delete(name);
    // This may forget a window that has not ended. With so many groups, the limit for all of them applies anyway.
    const [oldest] = this.#groups.keys();
    if (this.#groups.size >= maxGroups && oldest !== undefined) this.#groups.delete(oldest);
    const group = { endsAt: now + windowMs, passed: new Set<string>(), suppressed: known?.suppressed ?? 0 };
    this.#groups.set(name, group);
    return group;
  }
}
