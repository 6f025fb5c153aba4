import type { Decisions } from "./approval.ts";
import type { DecisionRecord } from "./decision-log.ts";
import type { Lock, LockedServer } from "./lock.ts";
import type { ServerPlace } from "./lock-edits.ts";

export interface DecisionSources {
  /** The lock in use. */
  readonly lock: Lock | undefined;
  /** The home's own, whose denials hold beside those of the lock in use. */
  readonly homeLock: Lock | undefined;
  readonly locked: boolean;
  /** The server's earlier keys, from which a rotation was proven, the latest first. */
  readonly earlierKeys: readonly string[];
}

/** What was decided about one server, in the files as they were read. Immutable. */
export class ServerDecisions implements Decisions {
  readonly place: ServerPlace;
  readonly entry: LockedServer | undefined;
  readonly isOtherKey: boolean;
  /** The key that the entry has in the file: an earlier one of this server, or this one. */
  readonly entryKey: string | undefined;
  readonly locked: boolean;
  /** The keys of entries for this address that are not this server's, as far as is proven. */
  readonly otherKeys: readonly string[];
  readonly #denied: ReadonlySet<string>;

  constructor(place: ServerPlace, { lock, homeLock, locked, earlierKeys }: DecisionSources) {
    this.place = place;
    this.locked = locked;
    const servers = lock?.servers ?? {};
    const own = [place.fingerprint, ...earlierKeys];
    this.entryKey = own.find((key) => Object.hasOwn(servers, key));
    this.entry = this.entryKey === undefined ? undefined : servers[this.entryKey];
    const isHere = (key: string, { address }: LockedServer) =>
      address === place.address && !own.includes(key);
    this.otherKeys = Object.entries(servers).flatMap(([key, entry]) => (isHere(key, entry) ? [key] : []));
    this.isOtherKey =
      this.entry === undefined && this.otherKeys.some((key) => servers[key]?.modules !== undefined);
    const denials = [lock, homeLock].flatMap((one) =>
      Object.entries(one?.servers ?? {}).flatMap(([key, entry]) =>
        own.includes(key) || entry.address === place.address ? Object.entries(entry.denied ?? {}) : [],
      ),
    );
    this.#denied = new Set(denials.flatMap(([mod, trees]) => trees.map(({ tree }) => deniedId(mod, tree))));
  }

  get hasDenials(): boolean {
    return this.#denied.size > 0;
  }

  isDenied(mod: string, tree: string): boolean {
    return this.#denied.has(deniedId(mod, tree));
  }
}

function deniedId(mod: string, tree: string): string {
  return `${tree} ${mod}`;
}

/** The keys from which proven rotations led to this one, the latest first. */
export function earlierKeysOf(fingerprint: string, records: readonly DecisionRecord[]): string[] {
  const keys: string[] = [fingerprint];
  for (const key of keys) {
    for (const { event, server, next } of records) {
      if (event === "rotated" && next === key && !keys.includes(server)) keys.push(server);
    }
  }
  return keys.slice(1);
}
