import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { detailOf, messageOf, VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { SpecifierSpan } from "./imports.ts";
import { type Stamp, stampOf, stampTrustMs } from "./stamp.ts";
import { treeSum } from "./tree.ts";
import { type ReadBytes, type TreeLimits, TreeReader } from "./tree-reader.ts";

/** One file of a module: exactly the bytes that were hashed, as text (they are valid UTF-8, a byte-order mark kept). */
export interface SourceText {
  /** Below `mods/`, with forward slashes. */
  readonly path: string;
  readonly content: string;
  readonly sum: Sha256Hex;
}

/**
 * A module as bytes: everything it may load, read once. Whatever runs it takes texts and resolutions from here and
 * never from the disk, which may have changed since, or no longer have the file.
 */
export interface ModuleSource {
  /** The file name, `hello.ts`; also the path of `entry`. */
  readonly mod: string;
  /** The real path of `mods/` when it was read; file paths are relative to it. */
  readonly root: string;
  readonly entry: SourceText;
  /** The imported files without `entry`, sorted by the bytes of their paths. */
  readonly files: readonly SourceText[];
  /** The digest of `entry`, and of the whole. */
  readonly sum: Sha256Hex;
  readonly tree: Sha256Hex;
  /**
   * Which file each relative specifier means: importer's path → specifier → path, both of `entry` or `files`.
   * Built-ins (`node:fs`, `bun`) are not listed; everything else was refused. Symbolic links are not resolved
   * here: a linked file has its link's path, and its relative imports start from there.
   */
  readonly imports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Where each file has specifiers that Bun's loader would read; files without any are not listed. */
  readonly specifiers: Readonly<Record<string, readonly SpecifierSpan[]>>;
}

/** What was found at a module's name, and everything that this depended on. */
export interface Observation {
  readonly mod: string;
  /** `undefined`: nothing has that name. */
  readonly outcome: ModuleSource | VeripyError | undefined;
  /** Equal for two observations with the same outcome of the same bytes. */
  readonly key: string;
  /** The files read and the paths where one was looked for, below `mods/`. */
  readonly stamps: ReadonlyMap<string, Stamp>;
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
export async function stampsChanged(root: string, stamps: ReadonlyMap<string, Stamp>): Promise<boolean> {
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
  const settled = [...stamps.values()].every(({ changedMs }) => changedMs < startedMs - stampTrustMs);
  return { mod, outcome, key, stamps, settled };
}
