import type { CatalogueMark } from "../catalogue/catalogue-mark.ts";
import type { ApprovedModule, DeniedTree, Lock, LockedServer } from "./lock.ts";

/** Whose decisions are edited: the server's key, and the address where it was reached. */
export interface ServerPlace {
  readonly fingerprint: string;
  /** `host:port`. */
  readonly address: string;
  /** The catalogue that the server belongs to, as far as is known: see `shared-entry.ts`. */
  readonly catalogue?: PlaceCatalogue;
}

export interface PlaceCatalogue {
  readonly name: string;
  /** Of the catalogue that the server serves; undefined unless its signature was checked. */
  readonly mark: CatalogueMark | undefined;
  /** The keys of the servers that it is for; empty if it does not say. */
  readonly members: readonly string[];
}

// Pure edits of a lock. Each returns another lock, or its argument when nothing changes.

/**
 * Approves a version, in place of an earlier one and of its denial. An entry for the same address under another key ends:
 * a person has now decided for this one. Its denials stay.
 */
export function withApproval(lock: Lock, place: ServerPlace, mod: string, approved: ApprovedModule): Lock {
  const { fingerprint, address } = place;
  const others = otherKeysAt(lock, place);
  const entry = others.reduce(
    (merged, key) => withDenialsOf(merged, lock.servers[key]),
    lock.servers[fingerprint] ?? { address },
  );
  const servers = without(lock.servers, others);
  const denied = withoutTree(entry.denied, mod, approved.tree);
  const modules = { ...entry.modules, [mod]: approved };
  return {
    ...lock,
    servers: { ...servers, [fingerprint]: { ...withDenied(entry, denied), address, modules } },
  };
}

/** Denies a version, and removes the module's approval, whichever version it is for. */
export function withDenial(lock: Lock, place: ServerPlace, mod: string, denial: DeniedTree): Lock {
  const { fingerprint, address } = place;
  const entry = lock.servers[fingerprint] ?? { address };
  const denied = { ...entry.denied, [mod]: [...otherDenials(entry.denied, mod, denial.tree), denial] };
  const next = { ...withoutModule(entry, mod), address, denied };
  return { ...lock, servers: { ...lock.servers, [fingerprint]: next } };
}

/** Removes a module's approval. That of the last one leaves `modules` empty, so that nothing of the server runs. */
export function withoutApproval(lock: Lock, fingerprint: string, mod: string): Lock {
  const entry = lock.servers[fingerprint];
  if (entry?.modules === undefined || !Object.hasOwn(entry.modules, mod)) return lock;
  return { ...lock, servers: { ...lock.servers, [fingerprint]: withoutModule(entry, mod) } };
}

/**
 * Moves what was decided about a server under its earlier keys, the latest first, to its current one. Where that has an
 * approval of the same module, it stands.
 */
export function withCurrentKey(lock: Lock, current: string, earlierKeys: readonly string[]): Lock {
  let moved = lock;
  for (const from of earlierKeys) moved = withNextKey(moved, from, current);
  return moved;
}

/** Moves what was decided about a server to its next key. */
export function withNextKey(lock: Lock, from: string, to: string): Lock {
  const { [from]: entry, [to]: own } = lock.servers;
  if (entry === undefined || from === to) return lock;
  const modules = { ...entry.modules, ...own?.modules };
  const isGoverned = entry.modules !== undefined || own?.modules !== undefined;
  const { address } = own ?? entry;
  const approvals = { address, ...(isGoverned ? { modules } : {}) };
  const merged = withDenialsOf(withDenied(approvals, own?.denied), entry);
  return { ...lock, servers: { ...without(lock.servers, [from]), [to]: merged } };
}

/** The keys of entries for this address, other than this server's own. */
export function otherKeysAt({ servers }: Lock, { fingerprint, address }: ServerPlace): string[] {
  return Object.keys(servers).filter((key) => key !== fingerprint && servers[key]?.address === address);
}

/** The entry with the denials of another beside its own. */
export function withDenialsOf(
  entry: LockedServer,
  other: Pick<LockedServer, "denied"> | undefined,
): LockedServer {
  const denied = new Map(Object.entries(entry.denied ?? {}));
  for (const [mod, trees] of Object.entries(other?.denied ?? {})) {
    const own = denied.get(mod) ?? [];
    denied.set(mod, [...trees.filter(({ tree }) => !own.some((one) => one.tree === tree)), ...own]);
  }
  return withDenied(entry, Object.fromEntries(denied));
}

/** A module's name may be that of something which every object has, such as `constructor`. */
function denialsOf(denied: LockedServer["denied"] = {}, mod: string): DeniedTree[] {
  return (Object.hasOwn(denied, mod) ? denied[mod] : undefined) ?? [];
}

function otherDenials(denied: LockedServer["denied"], mod: string, tree: string): DeniedTree[] {
  return denialsOf(denied, mod).filter((one) => one.tree !== tree);
}

function withoutModule(entry: LockedServer, mod: string): LockedServer {
  return entry.modules === undefined ? entry : { ...entry, modules: without(entry.modules, [mod]) };
}

function withoutTree(denied: LockedServer["denied"], mod: string, tree: string): LockedServer["denied"] {
  if (denied === undefined) return denied;
  const left = otherDenials(denied, mod, tree);
  return left.length === 0 ? without(denied, [mod]) : { ...denied, [mod]: left };
}

function withDenied(entry: LockedServer, denied: LockedServer["denied"]): LockedServer {
  const { denied: _, ...rest } = entry;
  return denied === undefined || Object.keys(denied).length === 0 ? rest : { ...rest, denied };
}

function without<T>(record: Readonly<Record<string, T>>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}
