import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { DecisionLog } from "../approvals/decision-log.ts";
import { SourceStore } from "../approvals/source-store.ts";
import { serverName } from "../trust/known-servers.ts";
import type { ConnectOptions } from "./connect-options.ts";

/** The files that a client's decisions are kept in. */
export interface ApprovalFiles {
  /** The lock in use, which need not exist; undefined without one. */
  readonly lockFile: string | undefined;
  /** The lock of the home, whose denials always hold. */
  readonly homeLockFile: string | undefined;
  readonly store: SourceStore | undefined;
  readonly log: DecisionLog | undefined;
  /** Only what is approved may run, and a server without an entry is refused. */
  readonly locked: boolean;
  /** Connects even if no approval can apply, so that somebody can decide. */
  readonly decide: boolean;
  /** `host:port` of the server, as `serverName` returns it. */
  readonly address: string;
  /** Who decides: `user@machine`. */
  readonly by: string;
}

export function approvalFiles(
  { host, port }: { host: string; port: number },
  { home, lock, locked = false, decide = false }: ConnectOptions,
): ApprovalFiles {
  const by = decider();
  return {
    lockFile: lock,
    homeLockFile: home === undefined ? undefined : lockPath(home),
    store: home === undefined ? undefined : new SourceStore(join(home, "store")),
    log: home === undefined ? undefined : new DecisionLog(join(home, "log.jsonl"), by),
    locked,
    decide,
    address: serverName(host, port),
    by,
  };
}

/** The lock of a home. */
export function lockPath(home: string): string {
  return join(home, "veripy.lock");
}

function decider(): string {
  let user = "unknown";
  try {
    user = userInfo().username;
  } catch {
    // A user ID without a name, as in some containers.
  }
  return `${user}@${hostname()}`;
}
