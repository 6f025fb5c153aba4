import { deadlines, type Expirable } from "../../base/deadlines.ts";

const windowMs = 10_000;
/** Records written whole within ten seconds, of one kind and of all kinds. */
const maxWhole = 5;
const maxWholeInAll = 1_000;
/** Kinds that are distinguished within ten seconds. */
const maxKinds = 1_000;

interface Kind {
  readonly common: object;
  whole: number;
  /** How many were not written whole, and when the first and the last of them came. */
  count: number;
  first: number;
  last: number;
}

/**
 * Shortens floods of similar records: within ten seconds the first five of a kind are written whole, and all further
 * ones become a single record with their common fields and `count`, `first` and `last`.
 */
export class SimilarRecords implements Expirable {
  readonly #write: (record: object) => void;
  readonly #kinds = new Map<string, Kind>();
  #whole = 0;

  constructor(write: (record: object) => void) {
    this.#write = write;
  }

  /**
   * Records with equal `what` and `who` are of one kind; with too many kinds, those with equal `what` are. `record` is
   * called only if the whole record is written.
   */
  add(what: object, who: object, record: () => object): void {
    if (this.#kinds.size === 0) deadlines.arm(this, windowMs);
    const kind = this.#kind({ ...what, ...who }, what);
    if (kind.whole < maxWhole && this.#whole < maxWholeInAll) {
      kind.whole += 1;
      this.#whole += 1;
      this.#write(record());
      return;
    }
    kind.last = Date.now();
    if (kind.count === 0) kind.first = kind.last;
    kind.count += 1;
  }

  /** Writes the records of what was counted, and starts over. */
  flush(): void {
    for (const { common, count, first, last } of this.#kinds.values()) {
      if (count === 0) continue;
      const [from, to] = [first, last].map((time) => new Date(time).toISOString());
      this.#write({ ...common, count, first: from, last: to });
    }
    this.#kinds.clear();
    this.#whole = 0;
  }

  expire(): void {
    this.flush();
  }

  #kind(common: object, rough: object): Kind {
    const key = JSON.stringify(common);
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    if (this.#kinds.size >= maxKinds && common !== rough) return this.#kind(rough, rough);
    const kind = { common, whole: 0, count: 0, first: 0, last: 0 };
    this.#kinds.set(key, kind);
    return kind;
  }
}
