import { findLock, readDecisionLog, removeApprovals, type VeripyClient, VeripyError } from "../index.ts";
import { recordRow } from "./approval-text.ts";
import { withModules } from "./client-connection.ts";
import type { ClientOptions } from "./client-options.ts";
import { printList } from "./list.ts";
import { note, print, printJson } from "./ui.ts";

/** The error of a decision with `--no-lock`. */
export function noLock(): VeripyError {
  return new VeripyError(
    "bad_config",
    "A decision changes a lock, and --no-lock says to use none. Leave that out.",
  );
}

/** Denies a module's current version, or the tree that was given. */
export async function deny(
  given: ClientOptions,
  mod: string,
  own: { tree?: string; note?: string },
): Promise<void> {
  if (given.lock === false) throw noLock();
  const use = async (client: VeripyClient) => {
    const name = client.approvals.nameOf(mod);
    const tree = own.tree ?? (await currentTree(client, name));
    await client.approvals.deny(name, tree, { note: own.note });
    if (given.json) printJson({ mod: name, tree, state: "denied", lock: client.approvals.lockFile });
    else print`${name} is denied: ${tree}`;
  };
  return withModules(given, [mod], use, { ignoresLocked: true, createsLock: true });
}

/** The tree that is reported: a version that does not match its report can be denied too. */
async function currentTree(client: VeripyClient, mod: string): Promise<string> {
  const report = client.reports.get(mod);
  if (report?.tree !== undefined) return report.tree;
  const verdict = await client.verify(mod);
  if (verdict.verified) return verdict.tree;
  throw new VeripyError(
    "verification_failed",
    `Cannot deny ${mod}: its files do not match the server's report.`,
  );
}

/** Removes approvals, without a connection. */
export async function unapprove(given: ClientOptions, mods: readonly string[]): Promise<void> {
  const { host, port, certs, home } = given;
  const lock = await findLock({ home, given: given.lock });
  if (lock === undefined) throw noLock();
  for (const { mod, tree, server } of await removeApprovals(
    { host, port, certsDir: certs, home, lock },
    mods,
  )) {
    if (given.json) printJson({ mod, tree, server, lock });
    else print`${mod} is no longer approved: ${tree}`;
  }
}

/** Prints what was seen and decided, oldest first, without a connection. */
export async function printLog(
  { home, host, port, json }: ClientOptions,
  mod: string | undefined,
  { oneServer }: { oneServer: boolean },
): Promise<void> {
  const records = await readDecisionLog(home, { mod, server: oneServer ? { host, port } : undefined });
  if (json) {
    for (const record of records) printJson(record);
    return;
  }
  if (records.length === 0) note`Nothing was seen or decided yet.`;
  const header = ["time", "event", "module", "tree", "server", "by", "note"];
  printList(header, records.map(recordRow));
}
