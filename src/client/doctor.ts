import { join } from "node:path";
import type { ConnectOptions } from "./connect-options.ts";
import { examineCertsFolder, examineHome, examineKey, examineLocks, examineTrust } from "./examine-files.ts";
import { examineServer, probeServer } from "./examine-server.ts";
import type { Finding } from "./finding.ts";

/**
 * Examines a client: its files, whether the server can be reached and accepts it, and what that server says of itself.
 * Goes on after a fault with all that does not depend on it. Changes nothing.
 */
export async function* examineClient(options: ConnectOptions = {}): AsyncGenerator<Finding> {
  const { home = ".", host = "localhost", port = 8443 } = options;
  const certsDir = options.certsDir ?? join(home, "certs");
  yield await examineHome(home);
  const locks = await examineLocks(home, options.lock);
  yield* locks;
  const folder = await examineCertsFolder(certsDir);
  yield* folder;
  const { findings, identity } = await examineKey(certsDir);
  yield* findings;
  // Nothing in a folder that everybody can write to says which server is trusted.
  const { serverFingerprint } = options;
  const trust = folder.some(isError)
    ? folder
    : await examineTrust({ certsDir, host, port, serverFingerprint });
  if (trust !== folder) yield* trust;

  if (identity === undefined || trust.some(isError)) {
    yield* probeServer({ host, port, timeoutMs: options.timeoutMs ?? 10_000 });
    return;
  }
  // A lock that can't be read has been reported, and need not keep the server from being examined.
  const { home: _, lock: __, ...withoutLocks } = options;
  const usable = locks.some(isError) ? withoutLocks : options;
  yield* examineServer({ ...usable, host, port, certsDir, identity });
}

function isError({ state }: Finding): boolean {
  return state === "error";
}
