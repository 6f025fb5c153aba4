import { keepKnownServer, knownServersFile, resolveServerPin } from "../trust/known-servers.ts";
import { pinnedByOption } from "../trust/server-pin-advice.ts";
import type { RememberServer } from "./connect-options.ts";
import type { ConnectTarget } from "./connect-target.ts";

/**
 * Keeps the key of a connected server in a file, if only the caller's option names it. Call it once the server has accepted
 * this client. Resolves with the file's path; undefined when nothing was kept.
 */
export async function rememberServer(
  target: ConnectTarget,
  remember: RememberServer,
): Promise<string | undefined> {
  const { certsDir, host, port, source, seenFingerprint } = target;
  if (remember === false || source !== pinnedByOption || seenFingerprint === undefined) return undefined;
  const isPinned = async () => (await resolveServerPin({ certsDir, host, port })) !== undefined;
  if (await isPinned()) return undefined;
  if (remember !== true && !(await remember(seenFingerprint))) return undefined;
  // Another program may have pinned a key while the question was open.
  if (await isPinned()) return undefined;
  await keepKnownServer(certsDir, host, port, seenFingerprint);
  target.source = knownServersFile(certsDir);
  return target.source;
}
