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
 * Bounds what others can write to the log, however many they are: ten lines a second in all, and within ten seconds
 * five different lines of one group, such as an address or a key.
 */
export class GroupedLogGate {
  readonly #all = new LogGate(maxPerSecond);
  readonly #now: () => number;
  /** The one that began last is last. */
  readonly #groups = new Map<string, Group>();

  /** `now` in milliseconds, monotonic. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Undefined: the line must not be written. Otherwise how many of its group were not, since the last that was.
   * `line` tells different lines of a group apart.
   */
  pass(group: string, line: string): number | undefined {
    const state = this.#group(group);
    const mayPass = state.passed.size < maxPerGroup && !state.passed.has(line) && this.#all.pass();
    if (!mayPass) {
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
    // All of them may be fresh: then it is a flood of groups, which the limit for all of them holds.
    const [oldest] = this.#groups.keys();
    if (this.#groups.size >= maxGroups && oldest !== undefined) this.#groups.delete(oldest);
    const group = { endsAt: now + windowMs, passed: new Set<string>(), suppressed: known?.suppressed ?? 0 };
    this.#groups.set(name, group);
    return group;
  }
}

/** ` (3 similar refusals suppressed)`, to be added to a line; nothing for none. */
export function suppressedNote(count: number, what: string): string {
  return count === 0 ? "" : ` (${count} similar ${what} suppressed)`;
}
