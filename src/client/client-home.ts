import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { isThere } from "../base/files.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { lockPath } from "./approval-files.ts";

/** The working directory, where it is the home. Paths in it stay relative, as a person would type them. */
const here = ".";

/**
 * The folder of a client's keys, settings and decisions: `given`, or else the working directory if it has
 * `certs/client.key`, or else `veripy` in `configFolder`, which is `~/.config` for most users. It need not exist.
 * Throws `bad_config` when the working directory can't be looked at.
 */
export async function findHome(given: string | undefined, configFolder: string): Promise<string> {
  if (given !== undefined) return given;
  const hasKey = await isKnownToExist("certs/client.key", "Name the client's home with --home");
  return hasKey ? here : join(configFolder, "veripy");
}

/** The folder of keys in a home. */
export function certsFolder(home: string): string {
  return home === here ? "./certs" : join(home, "certs");
}

export interface LockQuery {
  home: string;
  /** The path of a lock, or false for no lock. Undefined: the one in the working directory, or else the home's. */
  given: string | false | undefined;
  /** Whether a lock whose path is `given` may be missing: for a decision, which creates it. */
  mayBeMissing?: boolean;
}

/**
 * The `veripy.lock` that a client uses; undefined for none. A lock that was named and does not exist is an error
 * (`bad_config`), because without it everything might run.
 */
export async function findLock({
  home,
  given,
  mayBeMissing = false,
}: LockQuery): Promise<string | undefined> {
  if (given === false) return undefined;
  if (given === undefined) {
    const own = lockPath(here);
    return (await isKnownToExist(own, "Name the lock with --lock")) ? own : lockPath(home);
  }
  if (mayBeMissing || (await isKnownToExist(given, "Name another with --lock"))) return given;
  throw new VeripyError(
    "bad_config",
    `Cannot use the lock ${given}: it does not exist. 'veripy-client approve' and 'veripy-client deny' create it.`,
  );
}

/** Makes the folder of a home, which only its owner can read. Leaves an existing one as it is. Throws `bad_identity`. */
export async function makeHome(home: string): Promise<void> {
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new VeripyError("bad_identity", `Cannot create the folder ${home}: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
}

async function isKnownToExist(path: string, advice: string): Promise<boolean> {
  try {
    return await isThere(path);
  } catch (error) {
    if (isSystemError(error, "ENOTDIR")) return false;
    throw new VeripyError(
      "bad_config",
      `Cannot tell whether ${path} exists: ${reasonOf(error)}. ${advice}.`,
      { cause: error },
    );
  }
}
