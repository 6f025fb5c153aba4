import { basename } from "node:path";
import { VeripyError } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import type { ModuleRegistry } from "../modules/registry.ts";
import { findEntry, listed, unknownEntry } from "../trust/find-entry.ts";
import type { TrustedKeys } from "../trust/trusted-keys.ts";
import type { ConnectionRecord, DisconnectedKey, RetiredVersions } from "./control-messages.ts";
import type { Session } from "./session.ts";

const log = loggerOf("server");

/** The current connections, for `veripy-server keys`. */
export function connectionsOf(sessions: Iterable<Session>): ConnectionRecord[] {
  return [...sessions].map(({ fingerprint, name, address, since, callsInFlight }) => ({
    fingerprint,
    ...(name === undefined ? {} : { name }),
    address,
    since: since.toISOString(),
    calls: callsInFlight,
  }));
}

/** Closes all connections of an entry's keys. Throws `bad_config` when there is no such entry, or no connection. */
export function disconnect(
  who: string,
  sessions: Iterable<Session>,
  keys: TrustedKeys,
  trustedKeysPath: string,
): DisconnectedKey {
  const entry = findEntry(keys, who);
  if (entry === undefined) throw unknownEntry(keys, who, "Cannot disconnect", basename(trustedKeysPath));
  const all = [...sessions];
  const own = all.filter(({ fingerprint }) => keys.lookup(fingerprint) === entry);
  if (own.length === 0) {
    const others = [...new Set(all.map(({ name, fingerprint }) => name ?? fingerprint))];
    throw new VeripyError(
      "bad_config",
      `Cannot disconnect '${who}': it is not connected. ` +
        (others.length === 0 ? "No client is." : `Connected are: ${listed(others)}.`),
    );
  }
  const { fingerprint, name } = entry;
  log.info("Disconnecting {who} at the operator's request; connections: {count}.", {
    who: name ?? fingerprint,
    count: own.length,
  });
  for (const session of own) session.close("cancelled", "The server's operator disconnected this client.");
  return { fingerprint, ...(name === undefined ? {} : { name }), closed: own.length };
}

/** Ends kept versions of a module, see `ModuleRegistry.retire`. */
export function retire(mod: string, tree: string | undefined, registry: ModuleRegistry): RetiredVersions {
  const trees = registry.retire(mod, tree).map((version) => version.tree);
  log.info("Retired {count} versions of {mod} at the operator's request: {trees}.", {
    mod,
    count: trees.length,
    trees,
  });
  return { mod, trees };
}
