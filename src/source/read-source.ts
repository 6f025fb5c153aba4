import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { detailOf, messageOf, VeripyError } from "../base/errors.ts";
import { type FileStamp, isSettled, stampOf } from "../base/file-stamp.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { treeSum } from "../protocol/tree.ts";
import type { ModuleSource } from "./module-source.ts";
import { type ReadBytes, type TreeLimits, TreeReader } from "./tree-reader.ts";

/** What was found at a module's name, and everything that this depended on. */
export interface Observation {
  readonly mod: string;
  /** `undefined`: nothing has that name. */
  readonly outcome: ModuleSource | VeripyError | undefined;
  /** Equal for two observations with the same outcome of the same bytes. */
  readonly key: string;
  /** The files read and the paths where one was looked for, below `mods/`. */
  readonly stamps: ReadonlyMap<string, FileStamp>;
  /** Whether unchanged stamps mean unchanged bytes; not so when something had changed just before. */
  readonly settled: boolean;
}

/** How often a module is read before it counts as changing without end, and the pause in between. */
const attempts = 10;
const pauseMs = 5;

/**
 * Reads a module and everything it imports. Each file is read once; when something changes meanwhile, all are read
 * again until two passes agree. Throws `bad_module` or `too_large`, the message beginning with the path of the
 * file at fault, relative to `mods/`.
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

/** Like `readModuleSource`, with failures as an outcome. `root` is the real path of `mods/`. Never rejects. */
export async function observeModule(
  root: string,
  mod: string,
  limits: TreeLimits,
  readBytes?: ReadBytes,
): Promise<Observation> {
  let last = await observeOnce(root, mod, limits, readBytes);
  for (let attempt = 1; attempt < attempts; attempt++) {
    if (last.settled && !(await stampsChanged(root, last.stamps))) return last;
    const next = await observeOnce(root, mod, limits, readBytes);
    if (next.key === last.key) return next;
    last = next;
    await Bun.sleep(pauseMs);
  }
  const message = `${mod}: it changes while it is read, ${attempts} times in a row.`;
  return { ...last, outcome: new VeripyError("bad_module", message), key: message, settled: false };
}

/** True when anything that the stamps stand for looks different now. */
export async function stampsChanged(root: string, stamps: ReadonlyMap<string, FileStamp>): Promise<boolean> {
  const changed = await Promise.all(
    [...stamps].map(async ([path, { mark }]) => {
      return (await stampOf(join(root, path))).mark !== mark;
    }),
  );
  return changed.includes(true);
}

async function observeOnce(
  root: string,
  mod: string,
  limits: TreeLimits,
  readBytes?: ReadBytes,
): Promise<Observation> {
  const startedMs = Date.now();
  const reader = new TreeReader(root, limits, readBytes);
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
