import { DecisionLog, type DecisionRecord } from "../approvals/decision-log.ts";
import type { Lock } from "../approvals/lock.ts";
import { type ServerPlace, withoutApproval } from "../approvals/lock-edits.ts";
import { editLock, readLock } from "../approvals/lock-file.ts";
import { editShared, withSharedEntry } from "../approvals/shared-entry.ts";
import { SerialRecord } from "../catalogue/serial-record.ts";
import { resolveServerPin, serverName } from "../trust/known-servers.ts";
import { notApprovedHere } from "./approval-errors.ts";
import { decider, logPath } from "./approval-files.ts";

/** Which server, and where what was decided about it is kept. */
export interface DecisionPlace {
  readonly host: string;
  readonly port: number;
  /** Says which key the server has; see `ConnectOptions`. */
  readonly certsDir: string;
  readonly home: string;
  readonly lock: string;
}

/** An approval that was removed. */
export interface RemovedApproval {
  readonly mod: string;
  readonly tree: string;
  /** The SHA-256 of the server's public key. */
  readonly server: string;
}

/**
 * Removes the approvals of modules, all or none, without a connection: the server may be gone. The server is found by the key
 * that is expected from it, or else by its address in the lock. Throws `not_found` for a module that is not approved.
 */
export async function removeApprovals(
  { host, port, certsDir, home, lock }: DecisionPlace,
  mods: readonly string[],
): Promise<RemovedApproval[]> {
  const address = serverName(host, port);
  const pin = await resolveServerPin({ certsDir, host, port });
  const removed: RemovedApproval[] = [];
  // Missing, it stays missing.
  if ((await readLock(lock)) === undefined)
    throw notApprovedHere(mods.join(", "), { lockFile: lock, address });
  const pinned = await Promise.all(
    (pin?.fingerprints ?? []).map((key) => placeOf(key, address, new SerialRecord(home))),
  );
  await editLock(lock, (before) => {
    const places = placesIn(before, pinned, address);
    return mods.reduce((edited, mod) => {
      const found = places.flatMap((place) => approvalOf(edited, place, mod) ?? []);
      // A module that is named twice is removed once.
      if (found.length === 0 && !removed.some((one) => isNamed(one.mod, mod)))
        throw notApprovedHere(mod, { lockFile: lock, address });
      removed.push(...found);
      return found.reduce(
        (rest, { server, mod: name }) =>
          places
            .filter(({ fingerprint }) => fingerprint === server)
            .reduce(
              (one, place) => editShared(one, place, (own) => withoutApproval(own, server, name)),
              rest,
            ),
        edited,
      );
    }, before);
  });
  const log = new DecisionLog(logPath(home), await decider());
  await log.tryAdd(removed.map((one) => ({ event: "unapproved", address, lock, ...one })));
  return removed;
}

export interface DecisionQuery {
  /** Only what concerns this module; `hello` stands for `hello.ts` and `hello.js`. */
  readonly mod?: string | undefined;
  /** Only what happened at this address. */
  readonly server?: { readonly host: string; readonly port: number } | undefined;
}

/** What was seen and decided, oldest first: everything in a home, or what is asked for. */
export async function readDecisionLog(
  home: string,
  { mod, server }: DecisionQuery = {},
): Promise<DecisionRecord[]> {
  const records = await new DecisionLog(logPath(home), await decider()).read();
  const address = server && serverName(server.host, server.port);
  return records.filter(
    (one) =>
      (mod === undefined || (one.mod !== undefined && isNamed(one.mod, mod))) &&
      (address === undefined || one.address === address),
  );
}

/** A server by its key, and by the catalogue that it had when it was last seen. */
async function placeOf(fingerprint: string, address: string, record: SerialRecord): Promise<ServerPlace> {
  const name = await record.nameOf(fingerprint);
  return {
    fingerprint,
    address,
    ...(name === undefined ? {} : { catalogue: { name, mark: undefined, members: [] } }),
  };
}

function placesIn(lock: Lock, pinned: readonly ServerPlace[], address: string): ServerPlace[] {
  const known = pinned.filter((place) =>
    Object.hasOwn(withSharedEntry(lock, place).servers, place.fingerprint),
  );
  if (known.length > 0) return known;
  const keys = Object.keys(lock.servers).filter((key) => lock.servers[key]?.address === address);
  return keys.map((fingerprint) => ({ fingerprint, address }));
}

function approvalOf(lock: Lock, place: ServerPlace, mod: string): RemovedApproval | undefined {
  const { fingerprint: server } = place;
  const modules = withSharedEntry(lock, place).servers[server]?.modules ?? {};
  const name = [mod, `${mod}.ts`, `${mod}.js`].find((one) => Object.hasOwn(modules, one));
  const approved = name === undefined ? undefined : modules[name];
  return name === undefined || approved === undefined
    ? undefined
    : { mod: name, tree: approved.tree, server };
}

function isNamed(name: string, mod: string): boolean {
  return [mod, `${mod}.ts`, `${mod}.js`].includes(name);
}
