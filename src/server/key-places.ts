/** One connection of a key. */
export interface PlaceHolder {
  readonly fingerprint: string;
  /** When something last came from it, by `performance.now()`. */
  readonly heardAt: number;
  /** Whether anything comes from it within `ms`, which is asked for. False, too, once the connection has ended. */
  probe(ms: number): Promise<boolean>;
  /** Its requests wait until `admit`. Nothing else is sent to it until then. */
  hold(): void;
  admit(): void;
  close(code: "busy" | "timeout", message: string): void;
}

interface Key<T> {
  /** Those that have a place. */
  readonly inside: Set<T>;
  /** Newcomers, the oldest first, and how many connections the key may have. */
  readonly waiting: Map<T, number>;
  /** Those of `inside` that are asked whether they live, each on behalf of one newcomer. */
  readonly probed: Set<T>;
}

/** A connection from which something has come within this time is not asked whether it lives. */
const silentMs = 1_000;
/** How long a silent connection has to answer when another one wants its place. */
const probeMs = 2_000;

/**
 * How many connections a key may have at once. One that was lost without a word would hold its place until its idle
 * time is over. So when a key at its limit comes again, the connection that has been silent longest is asked for a sign
 * of life, and gives way if it shows none. The newcomer waits meanwhile, and is told `busy` when all that could be asked
 * are alive. No more of them wait than there are connections to ask.
 */
export class KeyPlaces<T extends PlaceHolder> {
  readonly #keys = new Map<string, Key<T>>();
  /** To be called once for each connection. It is admitted unless `hold` or `close` is called in here. */
  enter(newcomer: T, max: number): void {
    const { fingerprint } = newcomer;
    const key = this.#keys.get(fingerprint) ?? { inside: new Set(), waiting: new Map(), probed: new Set() };
    this.#keys.set(fingerprint, key);
    if (key.inside.size < max) {
      key.inside.add(newcomer);
      return;
    }
    key.waiting.set(newcomer, max);
    newcomer.hold();
    void this.#makeRoom(key, newcomer, max);
  }

  /** To be called when a connection has ended, whether or not it has come in. */
  leave(connection: T): void {
    const key = this.#keys.get(connection.fingerprint);
    if (key === undefined) return;
    key.waiting.delete(connection);
    if (key.inside.delete(connection)) admitNext(key);
    if (key.inside.size + key.waiting.size === 0) this.#keys.delete(connection.fingerprint);
  }

  async #makeRoom(key: Key<T>, newcomer: T, max: number): Promise<void> {
    const since = performance.now();
    while (key.waiting.has(newcomer)) {
      const silent = mostSilent(key, since - silentMs);
      if (silent === undefined || performance.now() - since >= probeMs) {
        key.waiting.delete(newcomer);
        newcomer.close("busy", `This key has its limit of ${max} connections.`);
        return;
      }
      key.probed.add(silent);
      const isAlive = await silent.probe(probeMs);
      key.probed.delete(silent);
      // The newcomer may have left meanwhile, or have been given another place.
      if (isAlive || !key.waiting.has(newcomer) || !key.inside.delete(silent)) continue;
      const seconds = probeMs / 1_000;
      silent.close(
        "timeout",
        `No answer to a ping came within ${seconds} s, and another connection of this key takes its place.`,
      );
      admitNext(key);
    }
  }
}

/** Of those from which nothing has come since `since`, and that are not being asked for another newcomer. */
function mostSilent<T extends PlaceHolder>({ inside, probed }: Key<T>, since: number): T | undefined {
  let found: T | undefined;
  for (const each of inside) {
    if (each.heardAt >= since || probed.has(each)) continue;
    if (found === undefined || each.heardAt < found.heardAt) found = each;
  }
  return found;
}

function admitNext<T extends PlaceHolder>({ inside, waiting }: Key<T>): void {
  for (const [newcomer, max] of waiting) {
    if (inside.size >= max) return;
    waiting.delete(newcomer);
    inside.add(newcomer);
    newcomer.admit();
  }
}
