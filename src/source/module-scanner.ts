import { readdir, realpath } from "node:fs/promises";
import { isSystemError, VeripyError } from "../base/errors.ts";
import { readFileBounded } from "../base/files.ts";
import type { Limits } from "../base/limits.ts";
import { Gate } from "../base/semaphore.ts";
import { TimeSlice } from "../base/time-slice.ts";
import type { ModuleSource } from "./module-source.ts";
import { type Observation, observeModule, stampsChanged } from "./read-source.ts";
import { foldCase, type ReadBytes } from "./tree-reader.ts";

/** What is now found under a module's name, where it differs from what was found before. */
export interface Finding {
  readonly mod: string;
  /** `undefined`: the module is gone. */
  readonly outcome: ModuleSource | VeripyError | undefined;
  /** The paths of its files, and of those that were looked for. */
  readonly paths?: Iterable<string>;
  /** The same outcome of the same bytes has the same key. A finding with the previous key means: the files were touched. */
  readonly key: string;
}

export type ScanLimits = Pick<Limits, "maxFileBytes" | "maxTreeBytes" | "maxTreeFiles" | "maxModules">;

/** How many modules are read at a time: one that keeps changing does not hold up the others. */
const readsAtOnce = 16;
/** Files are read synchronously; after this long, calls get their turn. */
const sliceMs = 2;

/** `*.ts` and `*.js`, except declarations and names that begin with a dot or an underscore. */
export function isModuleName(name: string): boolean {
  return /^[^._/\\][^/\\]*\.(ts|js)$/s.test(name) && !name.endsWith(".d.ts");
}

/**
 * Remembers what was found in `mods/` last and reports each difference as soon as it is known. Files are read again
 * only if their stamps changed, a hint named them, or their stamps were too fresh to rely on. Names that differ only in
 * case are all failures, because they would be one module on a system that ignores case. Call one method at a time.
 */
export class ModuleScanner {
  readonly #modsDir: string;
  readonly #limits: ScanLimits;
  readonly #report: (finding: Finding) => void;
  readonly #readBytes: ReadBytes;
  readonly #gate = new Gate(readsAtOnce);
  readonly #slice = new TimeSlice(sliceMs);
  /** The real path of `mods/`; undefined while it does not exist. */
  #root: string | undefined;
  readonly #seen = new Map<string, Seen>();
  /** By folded name: the modules that exist or are being read. */
  readonly #twins = new Map<string, Set<string>>();
  /** By path: the modules that have read it or looked for it. */
  readonly #readers = new Map<string, Set<string>>();

  constructor(
    modsDir: string,
    limits: ScanLimits,
    report: (finding: Finding) => void,
    readBytes: ReadBytes = readFileBounded,
  ) {
    this.#modsDir = modsDir;
    this.#limits = limits;
    this.#report = report;
    this.#readBytes = readBytes;
  }

  /**
   * Compares all of `mods/` with what is known. If `mods/` does not exist, all modules are gone. If it can't be listed
   * for another reason, throws the system error and leaves the modules as they are.
   */
  async scan(): Promise<void> {
    const names = await this.#list();
    const excess = new Set(names.slice(this.#limits.maxModules));
    const toCheck = new Set([...names, ...this.#seen.keys()]);
    for (const name of excess) {
      toCheck.delete(name);
      this.#record(tooMany(name, this.#limits.maxModules));
    }
    this.#claim(toCheck);
    const reads: Promise<void>[] = [];
    for (const name of toCheck) {
      if (this.#slice.isOver) await this.#slice.pause();
      if (this.#mayHaveChanged(name)) reads.push(this.#read(name));
    }
    await Promise.all(reads);
  }

  /**
   * Reads the modules again that these paths, relative to `mods/`, belong to. Returns false if a path may mean more,
   * which only a scan can find out: a directory, a link that other paths lead through, a temporary file.
   */
  async look(paths: Iterable<string>): Promise<boolean> {
    const names = new Set<string>();
    let explained = this.#root !== undefined;
    for (const path of paths) {
      const modules = this.#modulesAt(path);
      for (const name of modules) names.add(name);
      if (modules.length === 0) explained = false;
    }
    const unknown = [...names].filter((name) => !this.#seen.has(name));
    // Which modules are beyond the limit depends on all names.
    if (this.#seen.size + unknown.length > this.#limits.maxModules) return false;
    this.#claim(names);
    await Promise.all([...names].map((name) => this.#read(name)));
    return explained;
  }

  /** The modules that were read last, without those that could not be. */
  sources(): ModuleSource[] {
    return [...this.#seen.values()].map(({ outcome }) => outcome).filter(isSource);
  }

  /** Reports everything that is known once more. */
  retell(): void {
    for (const seen of this.#seen.values()) seen.told = undefined;
    for (const mod of this.#seen.keys()) this.#tellTwins(mod);
  }

  /** The modules that a path belongs to, perhaps repeated. */
  #modulesAt(path: string): string[] {
    const readers = [...(this.#readers.get(path) ?? [])];
    return isModuleName(path) ? [path, ...readers] : readers;
  }

  async #list(): Promise<string[]> {
    try {
      this.#root = await realpath(this.#modsDir);
      return (await readdir(this.#root)).filter(isModuleName).sort();
    } catch (error) {
      if (!isSystemError(error, "ENOENT")) throw error;
      this.#root = undefined;
      return [];
    }
  }

  /** Comes before any of them is reported, or a name would be good until its twin has been read. */
  #claim(names: Iterable<string>): void {
    for (const name of names) addTo(this.#twins, foldCase(name), name);
  }

  #mayHaveChanged(name: string): boolean {
    const seen = this.#seen.get(name);
    const root = this.#root;
    return !seen?.settled || root === undefined || stampsChanged(root, seen.stamps);
  }

  async #read(name: string): Promise<void> {
    const root = this.#root;
    if (root === undefined) {
      this.#forget(name);
      return;
    }
    await this.#gate.run(async () => {
      if (this.#slice.isOver) await this.#slice.pause();
      this.#record(await observeModule(root, name, this.#limits, this.#readBytes));
    });
  }

  #record(found: Observation): void {
    const { mod, outcome } = found;
    if (outcome === undefined) {
      this.#forget(mod);
      return;
    }
    const before = this.#seen.get(mod);
    if (before !== undefined) this.#unindex(before);
    // Keeps one copy of the text in memory.
    const known = before?.key === found.key && !movedRoot(before, found) ? before.outcome : outcome;
    const seen: Seen = { ...found, outcome: known, told: before?.told };
    if (before !== undefined && !sameStamps(before, found)) seen.told = undefined;
    this.#seen.set(mod, seen);
    for (const path of seen.stamps.keys()) addTo(this.#readers, path, mod);
    addTo(this.#twins, foldCase(mod), mod);
    this.#tellTwins(mod);
  }

  #forget(mod: string): void {
    const before = this.#seen.get(mod);
    removeFrom(this.#twins, foldCase(mod), mod);
    if (before !== undefined) {
      this.#unindex(before);
      this.#seen.delete(mod);
      this.#report({ mod, outcome: undefined, key: "absent" });
    }
    this.#tellTwins(mod);
  }

  #unindex(seen: Seen): void {
    for (const path of seen.stamps.keys()) removeFrom(this.#readers, path, seen.mod);
  }

  /** Reports a module and its twins, the names that differ from it only in case: whether one loads depends on them. */
  #tellTwins(mod: string): void {
    const twins = [...(this.#twins.get(foldCase(mod)) ?? [])].sort();
    for (const name of twins) {
      const seen = this.#seen.get(name);
      if (seen === undefined) continue;
      const finding = twins.length > 1 ? twinFailure(name, twins) : seen;
      if (finding.key === seen.told) continue;
      seen.told = finding.key;
      const { outcome, key } = finding;
      this.#report({ mod: name, outcome, key, paths: seen.stamps.keys() });
    }
  }
}

interface Seen extends Observation {
  /** The key of the finding reported last; undefined if the files have changed since. */
  told: string | undefined;
}

function tooMany(mod: string, maxModules: number): Observation {
  const message = `${mod}: mods/ has more than ${maxModules} modules.`;
  const outcome = new VeripyError("too_large", message);
  return { mod, outcome, key: message, stamps: new Map(), settled: false };
}

/** Why a module is not loaded if the name of another differs only in case; undefined if there is no such name. */
export async function twinError(modsDir: string, mod: string): Promise<VeripyError | undefined> {
  const names = await readdir(modsDir).catch(() => []);
  const twins = names.filter((name) => isModuleName(name) && foldCase(name) === foldCase(mod)).sort();
  return twins.length > 1 ? twinsOf(mod, twins).error : undefined;
}

function twinFailure(mod: string, twins: readonly string[]): Finding {
  const { error, detail } = twinsOf(mod, twins);
  return { mod, outcome: error, key: detail };
}

function twinsOf(mod: string, twins: readonly string[]): { error: VeripyError; detail: string } {
  const others = twins.filter((name) => name !== mod).join(", ");
  const detail = `${mod}: mods/ also has ${others}, which differs only in case; rename one of them.`;
  const message = `${mod}: mods/ has another file whose name differs only in case; rename one of them.`;
  return { error: new VeripyError("bad_module", message, { detail }), detail };
}

function sameStamps(a: Observation, b: Observation): boolean {
  if (a.stamps.size !== b.stamps.size) return false;
  for (const [path, { mark }] of a.stamps) if (b.stamps.get(path)?.mark !== mark) return false;
  return true;
}

function movedRoot({ outcome: a }: Observation, { outcome: b }: Observation): boolean {
  return isSource(a) && isSource(b) && a.root !== b.root;
}

function isSource(outcome: Observation["outcome"]): outcome is ModuleSource {
  return outcome !== undefined && !(outcome instanceof VeripyError);
}

function addTo(index: Map<string, Set<string>>, key: string, member: string): void {
  const members = index.get(key);
  if (members === undefined) index.set(key, new Set([member]));
  else members.add(member);
}

function removeFrom(index: Map<string, Set<string>>, key: string, member: string): void {
  const members = index.get(key);
  members?.delete(member);
  if (members?.size === 0) index.delete(key);
}
