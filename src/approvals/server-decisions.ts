import type { Decisions } from "./approval.ts";
import type { DecisionRecord } from "./decision-log.ts";
import type { Lock, LockedServer } from "./lock.ts";
import { otherKeysAt, type ServerPlace, withCurrentKey } from "./lock-edits.ts";
import { withSharedEntry } from "./shared-entry.ts";

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
  /** What the lock in use says of this server, also under its earlier keys. */
  readonly entry: LockedServer | undefined;
  readonly isOtherKey: boolean;
  readonly locked: boolean;
  /**
   * The keys of entries for this address, or for other servers of its catalogue, that are not this server's, as far as is
   * proven.
   */
  readonly otherKeys: readonly string[];
  readonly #denied: ReadonlySet<string>;

  constructor(place: ServerPlace, sources: DecisionSources) {
    const { fingerprint, address } = place;
    const [lock, homeLock] = [sources.lock, sources.homeLock].map(
      (one) => one && withSharedEntry(withCurrentKey(one, fingerprint, sources.earlierKeys), place),
    );
    this.place = place;
    this.locked = sources.locked;
    this.entry = lock?.servers[fingerprint];
    this.otherKeys = lock === undefined ? [] : [...otherKeysAt(lock, place), ...otherMembers(lock, place)];
    // A denial under this key is no answer to the question whether the approvals under another are for this server.
    this.isOtherKey =
      this.entry?.modules === undefined &&
      this.otherKeys.some((key) => lock?.servers[key]?.modules !== undefined);
    const denials = [lock, homeLock].flatMap((one) =>
      Object.entries(one?.servers ?? {}).flatMap(([key, entry]) =>
        key === fingerprint || entry.address === address ? Object.entries(entry.denied ?? {}) : [],
      ),
    );
    this.#denied = new Set(denials.flatMap(([mod, trees]) => trees.map(({ tree }) => deniedId(mod, tree))));
  }

  get hasDenials(): boolean {
    return this.#denied.size > 0;
  }

  isDenied(mod: string, tree: string): boolean {
    return this.hasDenials && this.#denied.has(deniedId(mod, tree));
  }
}

/** Servers of the same catalogue that have approvals of their own, which say nothing of this one. */
function otherMembers({ servers }: Lock, { fingerprint, address, catalogue }: ServerPlace): string[] {
  const members = catalogue?.members ?? [];
  return members.filter((key) => {
    const entry = Object.hasOwn(servers, key) ? servers[key] : undefined;
    return key !== fingerprint && entry?.modules !== undefined && entry.address !== address;
  });
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
