import type { CatalogueMark } from "../catalogue/catalogue-mark.ts";
import type { Lock, LockedCatalogue, LockedServer } from "./lock.ts";
import { type ServerPlace, withDenialsOf } from "./lock-edits.ts";

// The servers of one catalogue share an entry under the catalogue's name, unless a server has approvals of its own. While
// decisions are read or edited, the shared entry stands in the place of the server's own; what was edited goes back to it.

/** The lock as it is for this server: under its key, what it shares with the other servers of its catalogue. */
export function withSharedEntry(lock: Lock, { fingerprint, address, catalogue }: ServerPlace): Lock {
  const shared = catalogue && catalogueIn(lock, catalogue.name);
  if (shared === undefined) return lock;
  const own: LockedServer = lock.servers[fingerprint] ?? { address };
  const modules = own.modules ?? shared.modules;
  if (modules === undefined && shared.denied === undefined && lock.servers[fingerprint] === undefined)
    return lock;
  const entry = withDenialsOf({ ...own, ...(modules === undefined ? {} : { modules }) }, shared);
  return { ...lock, servers: { ...lock.servers, [fingerprint]: entry } };
}

/** Edits a lock as `withSharedEntry` returns it. Returns its argument when `edit` changes nothing. */
export function editShared(lock: Lock, place: ServerPlace, edit: (lock: Lock) => Lock): Lock {
  const { fingerprint, catalogue } = place;
  const shared = catalogue && catalogueIn(lock, catalogue.name);
  const mark = catalogue?.mark ?? shared;
  if (catalogue === undefined || mark === undefined || lock.servers[fingerprint]?.modules !== undefined)
    return edit(lock);
  const before = withSharedEntry(lock, place);
  const after = edit(before);
  if (after === before) return lock;
  const { [fingerprint]: entry, ...servers } = after.servers;
  const { modules, denied } = entry ?? {};
  const next: LockedCatalogue = {
    ...higher(shared, mark),
    ...(modules === undefined ? {} : { modules }),
    ...(denied === undefined ? {} : { denied }),
  };
  return { ...after, servers, catalogues: { ...lock.catalogues, [catalogue.name]: next } };
}

/** Notes the serial of a catalogue, if it is higher than what the lock has. */
export function withMark(lock: Lock, name: string, mark: CatalogueMark): Lock {
  const known = catalogueIn(lock, name);
  if (known !== undefined && known.serial >= mark.serial) return lock;
  const { serial, sum } = mark;
  return { ...lock, catalogues: { ...lock.catalogues, [name]: { ...known, serial, sum } } };
}

/** What a lock says of a catalogue, whose name may be that of something which every object has, such as `constructor`. */
export function catalogueIn({ catalogues = {} }: Lock, name: string): LockedCatalogue | undefined {
  return Object.hasOwn(catalogues, name) ? catalogues[name] : undefined;
}

function higher(a: CatalogueMark | undefined, b: CatalogueMark): CatalogueMark {
  const { serial, sum } = a !== undefined && a.serial > b.serial ? a : b;
  return { serial, sum };
}
