import type { ApprovedModule, DeniedTree, Lock, LockedServer } from "./lock.ts";

/** Whose decisions are edited: the server's key, and the address where it was reached. */
export interface ServerPlace {
  readonly fingerprint: string;
  /** `host:port`. */
  readonly address: string;
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
  const earlier = (entry.denied?.[mod] ?? []).filter(({ tree }) => tree !== denial.tree);
  const denied = { ...entry.denied, [mod]: [...earlier, denial] };
  const next = { ...withoutModule(entry, mod), address, denied };
  return { ...lock, servers: { ...lock.servers, [fingerprint]: next } };
}

/** Removes a module's approval. That of the last one leaves `modules` empty, so that nothing of the server runs. */
export function withoutApproval(lock: Lock, fingerprint: string, mod: string): Lock {
  const entry = lock.servers[fingerprint];
  if (entry?.modules === undefined || !Object.hasOwn(entry.modules, mod)) return lock;
  return { ...lock, servers: { ...lock.servers, [fingerprint]: withoutModule(entry, mod) } };
}

/** Moves a server's entry to its next key, unless that has one. */
export function withNextKey(lock: Lock, from: string, to: string): Lock {
  const entry = lock.servers[from];
  if (entry === undefined || from === to || lock.servers[to] !== undefined) return lock;
  return { ...lock, servers: { ...without(lock.servers, [from]), [to]: entry } };
}

/** The keys of entries for this address, other than this server's own. */
export function otherKeysAt({ servers }: Lock, { fingerprint, address }: ServerPlace): string[] {
  return Object.keys(servers).filter((key) => key !== fingerprint && servers[key]?.address === address);
}

function withDenialsOf(entry: LockedServer, other: LockedServer | undefined): LockedServer {
  return other?.denied === undefined ? entry : { ...entry, denied: { ...other.denied, ...entry.denied } };
}

function withoutModule(entry: LockedServer, mod: string): LockedServer {
  return entry.modules === undefined ? entry : { ...entry, modules: without(entry.modules, [mod]) };
}

function withoutTree(denied: LockedServer["denied"], mod: string, tree: string): LockedServer["denied"] {
  const left = denied?.[mod]?.filter((one) => one.tree !== tree);
  if (denied === undefined || left === undefined) return denied;
  return left.length === 0 ? without(denied, [mod]) : { ...denied, [mod]: left };
}

function withDenied(entry: LockedServer, denied: LockedServer["denied"]): LockedServer {
  const { denied: _, ...rest } = entry;
  return denied === undefined || Object.keys(denied).length === 0 ? rest : { ...rest, denied };
}

function without<T>(record: Readonly<Record<string, T>>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}
