/** One connection of a key. */
export interface PlaceHolder {
  readonly fingerprint: string;
  /** When something last came from it, by `performance.now()`. */
  readonly heardAt: number;
  /** Asks for a sign of life. Resolves with whether one came within `ms`; false once the connection has ended. */
  probe(ms: number): Promise<boolean>;
  /** Makes its requests wait until `admit`. Nothing else is sent to it until then. */
  hold(): void;
  admit(): void;
  close(code: "busy" | "timeout", message: string): void;
}

interface Key<T> {
  /** The connections that have a place. */
  readonly inside: Set<T>;
  /** Newcomers, the oldest first, and how many connections the key may have. */
  readonly waiting: Map<T, number>;
  /** The connections inside that are being probed, each on behalf of one newcomer. */
  readonly probed: Set<T>;
}

/** A connection that was heard from within this time is not probed. */
const silentMs = 1_000;
/** How long a silent connection has to answer when another one needs its place. */
const probeMs = 2_000;

/**
 * Limits how many connections a key may have at once. A dead connection would keep its place until its idle timeout. So
 * when a key at its limit connects again, its longest silent connection is probed, and closed if it does not answer. The
 * newcomer waits meanwhile, and is refused with `busy` when every connection that can be probed is alive.
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

  /** To be called when a connection has ended, admitted or not. */
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
      // Meanwhile the newcomer may have left, or got another place.
      if (isAlive || !key.waiting.has(newcomer) || !key.inside.delete(silent)) continue;
      const seconds = probeMs / 1_000;
      silent.close(
        "timeout",
        `No answer to a ping within ${seconds} s, and another connection of this key needs the place.`,
      );
      admitNext(key);
    }
  }
}

/** The longest silent connection that was last heard from before `since` and is not being probed. */
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
