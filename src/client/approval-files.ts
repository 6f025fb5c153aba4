import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { DecisionLog } from "../approvals/decision-log.ts";
import { SourceStore } from "../approvals/source-store.ts";
import { userNameOf } from "../base/passwd.ts";
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
  /** Connects even if no approval can apply, so that a person can decide. */
  readonly decide: boolean;
  /** `host:port` of the server, as `serverName` returns it. */
  readonly address: string;
  /** Who decides: `user@machine`. */
  readonly by: string;
}

export async function approvalFiles(
  { host, port }: { host: string; port: number },
  { home, lock, locked = false, decide = false }: ConnectOptions,
): Promise<ApprovalFiles> {
  // A connection without decisions does not wait for a name that it has no use for.
  const by = home === undefined && lock === undefined ? "" : await decider();
  return {
    lockFile: lock,
    homeLockFile: home === undefined ? undefined : lockPath(home),
    store: home === undefined ? undefined : new SourceStore(storePath(home)),
    log: home === undefined ? undefined : new DecisionLog(logPath(home), by),
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

/** The sources of a home. */
export function storePath(home: string): string {
  return join(home, "store");
}

/** The log of a home. */
export function logPath(home: string): string {
  return join(home, "log.jsonl");
}

/** Who decides: `user@machine`. The user's name comes from the system: `userInfo` takes it from the environment, which anyone can set. */
export async function decider(): Promise<string> {
  const uid = process.getuid?.();
  const user = uid === undefined ? userInfo().username : await userNameOf(uid);
  return `${user ?? `uid ${uid}`}@${hostname()}`;
}
