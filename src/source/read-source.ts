import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { detailOf, messageOf, VeripyError } from "../base/errors.ts";
import { type FileStamp, isSettled, stampOf } from "../base/file-stamp.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { treeSum } from "../protocol/tree.ts";
import type { ModuleSource } from "./module-source.ts";
import { type ReadBytes, type TreeLimits, TreeReader } from "./tree-reader.ts";

/** What was found under a module's name, and everything that the result depends on. */
export interface Observation {
  readonly mod: string;
  /** `undefined`: there is no such file. */
  readonly outcome: ModuleSource | VeripyError | undefined;
  /** Two observations have the same key if the same bytes had the same outcome. */
  readonly key: string;
  /** By path below `mods/`: the files that were read, and those that were looked for and not found. */
  readonly stamps: ReadonlyMap<string, FileStamp>;
  /** True if unchanged stamps mean unchanged bytes: false when a file had changed just before. See `stampTrustMs`. */
  readonly settled: boolean;
}

/** A module that still changes after this many readings is an error; the pause is between two of them. */
const attempts = 10;
const pauseMs = 5;

/**
 * Reads a module and everything it imports. If a file changes meanwhile, all of them are read again until two passes
 * agree. Throws `bad_module` or `too_large`; the message begins with the path of the file at fault, relative to
 * `mods/`.
 */
export async function readModuleSource(
  modsDir: string,
  mod: string,
  limits: TreeLimits,
  readBytes?: ReadBytes,
): Promise<ModuleSource> {
  let root: string;
  try {
    root = await realpath(modsDir);
  } catch (error) {
    throw new VeripyError("bad_module", `${mod}: ${modsDir} cannot be read: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
  const { outcome } = await observeModule(root, mod, limits, readBytes);
  if (outcome === undefined) throw new VeripyError("bad_module", `${mod}: there is no such file in ${root}.`);
  if (outcome instanceof VeripyError) throw outcome;
  return outcome;
}

/** Like `readModuleSource`, but a failure is an outcome. `root` is the real path of `mods/`. Never rejects. */
export async function observeModule(
  root: string,
  mod: string,
  limits: TreeLimits,
  readBytes?: ReadBytes,
): Promise<Observation> {
  let reader = new TreeReader(root, limits, readBytes);
  let last = await observeOnce(mod, reader);
  for (let attempt = 1; attempt < attempts; attempt++) {
    if (last.settled && !stampsChanged(root, last.stamps)) return last;
    reader = new TreeReader(root, limits, readBytes, reader.scans);
    const next = await observeOnce(mod, reader);
    if (next.key === last.key) return next;
    last = next;
    await Bun.sleep(pauseMs);
  }
  const message = `${mod}: it kept changing while being read (${attempts} attempts).`;
  return { ...last, outcome: new VeripyError("bad_module", message), key: message, settled: false };
}

/** True if the stamp of any of these paths is different now. */
export function stampsChanged(root: string, stamps: ReadonlyMap<string, FileStamp>): boolean {
  for (const [path, { mark }] of stamps) if (stampOf(join(root, path)).mark !== mark) return true;
  return false;
}

async function observeOnce(mod: string, reader: TreeReader): Promise<Observation> {
  const startedMs = Date.now();
  let outcome: ModuleSource | VeripyError | undefined;
  let key: string;
  try {
    outcome = await reader.read(mod);
    key = outcome?.tree ?? "absent";
  } catch (error) {
    outcome =
      error instanceof VeripyError
        ? error
        : new VeripyError("bad_module", `${mod}: it cannot be read.`, {
            detail: `${mod}: ${messageOf(error)}`,
          });
    key = `${treeSum(reader.texts.values())} ${detailOf(outcome)}`;
  }
  const { stamps } = reader;
  const settled = [...stamps.values()].every((stamp) => isSettled(stamp, startedMs));
  return { mod, outcome, key, stamps, settled };
}
