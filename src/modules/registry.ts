import { availableParallelism } from "node:os";
import { messageOf, VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { loggerOf } from "../base/log.ts";
import { Gate } from "../base/semaphore.ts";
import { didYouMean } from "../base/similar.ts";
import {
  type ChangeHint,
  defaultWatchTiming,
  ModsWatcher,
  type WatchTiming,
} from "../source/mods-watcher.ts";
import { type Finding, ModuleScanner, type ScanLimits } from "../source/module-scanner.ts";
import type { ModuleSource } from "../source/module-source.ts";
import { LoadTrials } from "./load-trials.ts";
import { type ModuleChange, ModuleSlot, type SlotOwner, sharePorts } from "./module-slot.ts";
import type { RunnableVersion, VersionLister, VersionLoader, VersionStats } from "./module-version.ts";
import { PreparedVersions } from "./prepared-versions.ts";
import { Quiet } from "./quiet.ts";
import { RetainedVersions } from "./retained-versions.ts";

/** Whether a source may be loaded: now, when the admission changes (`readmit`), or why not. */
export type Admission = "now" | "later" | VeripyError;

export interface RegistryOptions {
  /** Need not exist: modules are loaded when it appears. */
  readonly modsDir: string;
  readonly limits: ScanLimits & Pick<Limits, "retain" | "maxRetainedBytes" | "drainMs">;
  readonly load: VersionLoader;
  /** Lists the modules that are there at the start; whether they load is found out afterwards. Without it all are loaded. */
  readonly list?: VersionLister;
  /** Without it, every source may be loaded. */
  readonly admit?: (source: ModuleSource) => Admission;
  readonly timing?: Partial<WatchTiming>;
  /** How long a missing or broken file must stay so before it counts; see `SlotOwner.settleMs`. */
  readonly settleMs?: number;
  /** How many versions are started at a time. */
  readonly loadsAtOnce?: number;
  /** The pause after a listed module has failed to load for the first time. */
  readonly trialPauseMs?: number;
}

/** A version, or why there is none to run. */
export type Found =
  | { readonly version: RunnableVersion }
  | { readonly reason: "not_found" | "version_mismatch" };

const log = loggerOf("module");
/** Few, because calls and edits come first. */
const trialsAtOnce = 2;
/** Comparing all modules with the disk takes at most a twentieth of the time, because an edit waits for it. */
const restFactor = 20;

/**
 * The modules of a directory, kept up to date with it. A module's current version changes in one step, when the new one is
 * ready to be called; if it never is, the old one stays. The last `limits.retain` versions that were replaced can still
 * be called by their tree.
 */
export class ModuleRegistry {
  readonly #options: RegistryOptions;
  readonly #slots = new Map<string, ModuleSlot>();
  readonly #listeners = new Set<(change: ModuleChange) => void>();
  readonly #scanner: ModuleScanner;
  readonly #watcher: ModsWatcher;
  readonly #loads: Gate;
  readonly #stopped = new AbortController();
  readonly #slotOwner: SlotOwner;
  /** Disturbed by whatever is asked for, and by every edit. */
  readonly #quiet = new Quiet();
  readonly #trials: LoadTrials;
  readonly #retained: RetainedVersions;
  /** Versions that can no longer be called, but may still have calls in flight. */
  readonly #ending = new Map<RunnableVersion, Promise<void>>();
  readonly #prepared = new PreparedVersions();
  /** Versions that are no longer admitted: they take no new call. */
  #barred: ReadonlySet<RunnableVersion> = new Set();
  #isStarting = true;
  #hint: ChangeHint = new Set<string>();
  #rescan: Promise<void> | undefined;
  #scanTrouble: string | undefined;
  #sorted: readonly RunnableVersion[] | undefined;
  #stop: Promise<void> | undefined;
  #stopDrainMs = 0;

  constructor(options: RegistryOptions) {
    this.#options = options;
    const { modsDir, limits, timing } = options;
    this.#scanner = new ModuleScanner(modsDir, limits, (finding) => this.#offer(finding));
    const follow = (hint: ChangeHint) => this.#follow(hint);
    this.#watcher = new ModsWatcher(modsDir, follow, { ...defaultWatchTiming, ...timing });
    this.#loads = new Gate(options.loadsAtOnce ?? Math.max(4, 2 * availableParallelism()));
    this.#trials = new LoadTrials({
      atOnce: trialsAtOnce,
      pauseMs: options.trialPauseMs ?? 1_000,
      quiet: this.#quiet,
      signal: this.#stopped.signal,
      failed: (version, error) => this.#slots.get(version.mod)?.withdraw(version, error),
    });
    this.#retained = new RetainedVersions(limits.maxRetainedBytes, (version) =>
      this.#slots.get(version.mod)?.drop([version]),
    );
    this.#slotOwner = this.#createSlotOwner();
  }

  /**
   * Resolves when every module in the directory is listed, has loaded or failed; a failure is a change, not a rejection.
   * Whether those that are listed load is then found out in the background. Call it once. Listeners that were added before
   * are told of each module.
   */
  async start(): Promise<void> {
    // Watching comes first, so that nothing is missed between the scan and the watch.
    await this.#watcher.start();
    const first = this.#scan("anything");
    this.#rescan = first.then(() => this.#rescanUntilCalm());
    await first;
    await Promise.all([...this.#slots.values()].map((slot) => slot.firstApplied));
    this.#isStarting = false;
    this.#trials.begin();
  }

  /** Calls `listener` after each change; those of one module come in order. Returns a function that unsubscribes it. */
  onChange(listener: (change: ModuleChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The current versions, sorted by name. */
  current(): readonly RunnableVersion[] {
    this.#quiet.disturb();
    this.#sorted ??= [...this.#slots.values()]
      .flatMap(({ current }) => (current === undefined || this.#barred.has(current) ? [] : current))
      .sort((a, b) => (a.mod < b.mod ? -1 : 1));
    return this.#sorted;
  }

  /** The current version, or the one of exactly this tree, current or kept. */
  find(mod: string, tree?: string): Found {
    this.#quiet.disturb();
    const slot = this.#slots.get(mod);
    if (slot?.current === undefined) return { reason: "not_found" };
    const version = tree === undefined ? slot.current : slot.byTree(tree);
    return version === undefined || this.#barred.has(version) ? { reason: "version_mismatch" } : { version };
  }

  /**
   * Reads what has changed, and loads the sources that `admits` says yes to, so that they are there at once when `readmit` is
   * called. One that does not load, or that declares a port of its module's current version, is left to `readmit`.
   */
  async prepare(admits: (source: ModuleSource) => boolean, signal: AbortSignal): Promise<void> {
    this.#follow("anything");
    await this.#rescan;
    const wanted = this.#scanner.sources().filter((source) => this.#canPrepare(source) && admits(source));
    await Promise.all(
      wanted.map(async (source) => {
        const version = await this.#loads
          .run(() => this.#options.load(source, AbortSignal.any([signal, this.#stopped.signal])))
          .catch(() => undefined);
        if (version === undefined) return;
        if (signal.aborted || this.#stopped.signal.aborted) this.#endVersion(version, 0);
        else this.#prepared.add(version);
      }),
    );
  }

  /**
   * What may be loaded has changed. Versions that are no longer admitted take no new call from now on; what is in the directory
   * is judged again. Resolves when that has been applied, and every version that is not admitted is gone.
   */
  async readmit(): Promise<void> {
    const barred = [...this.#slots.values()]
      .flatMap(({ versions }) => versions)
      .filter(({ source }) => this.#admissionOf(source) !== "now");
    this.#barred = new Set(barred);
    this.#sorted = undefined;
    const onDisk = new Map(this.#scanner.sources().map((source) => [source.mod, source]));
    for (const slot of this.#slots.values()) {
      slot.drop(barred);
      const source = onDisk.get(slot.mod);
      // Otherwise it is replaced in a moment, so that clients see one change.
      if (source === undefined || this.#admissionOf(source) !== "now") slot.unload(barred);
    }
    this.#scanner.retell();
    await Promise.all([...this.#slots.values()].map((slot) => slot.idle));
    for (const slot of this.#slots.values()) slot.unload([...this.#barred]);
    for (const version of this.#prepared.takeRest()) this.#endVersion(version, 0);
  }

  /**
   * Ends the kept versions of a module, or the one whose tree begins with `tree`, and returns them. Calls in flight may end.
   * Throws `bad_config` when there is no such module or version, when it is the current one, or when several trees begin so.
   */
  retire(mod: string, tree?: string): readonly RunnableVersion[] {
    const slot = this.#slots.get(mod);
    if (slot?.current === undefined) {
      const names = this.current().map((version) => version.mod);
      throw cannotRetire(mod, `there is no such module. ${didYouMean(mod, names)}`.trimEnd());
    }
    const [current, ...kept] = slot.versions;
    const retired = kept.filter((version) => tree === undefined || version.tree.startsWith(tree));
    if (tree !== undefined && retired.length !== 1) {
      const what = `${mod}@${tree}`;
      if (retired.length > 1)
        throw cannotRetire(what, `${retired.length} versions begin like that. Give more digits of the tree.`);
      if (current?.tree.startsWith(tree))
        throw cannotRetire(what, `it is the current version. Change or remove ${mod} instead.`);
      throw cannotRetire(what, "no version with that tree is kept here.");
    }
    slot.drop(retired);
    return retired;
  }

  /** Of all versions that can be called, sorted by name, the current one of each module first. */
  stats(): VersionStats[] {
    return [...this.#slots.values()]
      .sort((a, b) => (a.mod < b.mod ? -1 : 1))
      .flatMap((slot) => slot.versions.map((version) => version.stats()));
  }

  /**
   * Ends the watch and every version. Calls in flight have `drainMs` (default 0) to end, including those of versions that
   * were replaced before. Resolves when no process is left. Idempotent.
   */
  stop(drainMs = 0): Promise<void> {
    if (this.#stop === undefined) {
      this.#stopDrainMs = drainMs;
      this.#stop = this.#end();
    }
    return this.#stop;
  }

  async #end(): Promise<void> {
    this.#watcher.close();
    this.#stopped.abort();
    this.#sorted = undefined;
    // The promise that is kept in `#ending` reports a failure.
    for (const version of this.#prepared.takeRest()) this.#endVersion(version, 0);
    for (const version of this.#ending.keys()) version.stop(this.#stopDrainMs).catch(() => {});
    await Promise.all([this.#rescan, ...[...this.#slots.values()].map((slot) => slot.close())]);
    this.#slots.clear();
    await Promise.all(this.#ending.values());
  }

  #createSlotOwner(): SlotOwner {
    const registry = this;
    const { limits, load, settleMs = 100 } = this.#options;
    const { signal } = this.#stopped;
    return {
      get settleMs() {
        // At the start no file is taken to be in the middle of a save.
        return registry.#isStarting ? 0 : settleMs;
      },
      retain: limits.retain,
      load: async (source: ModuleSource) => {
        const prepared = registry.#prepared.take(source);
        if (prepared !== undefined) return prepared;
        // A version replaces another only when it has loaded.
        const listed = registry.#isStarting ? registry.#options.list?.(source) : undefined;
        if (listed !== undefined) {
          registry.#trials.add(listed);
          return listed;
        }
        return registry.#loads.run(() => {
          signal.throwIfAborted();
          return load(source, signal);
        });
      },
      kept: (version) => {
        if (registry.#barred.has(version)) registry.#slots.get(version.mod)?.drop([version]);
        else registry.#retained.add(version);
      },
      changed: (change) => registry.#tell(change),
      end: (version) =>
        registry.#endVersion(version, signal.aborted ? registry.#stopDrainMs : limits.drainMs),
      emptied: (slot) => registry.#slots.delete(slot.mod),
    };
  }

  #admissionOf(source: ModuleSource): Admission {
    return this.#options.admit?.(source) ?? "now";
  }

  #canPrepare(source: ModuleSource): boolean {
    const slot = this.#slots.get(source.mod);
    if (slot?.byTree(source.tree) !== undefined) return false;
    return slot?.current === undefined || !sharePorts(slot.current.source, source);
  }

  #offer(given: Finding): void {
    if (this.#stopped.signal.aborted) return;
    const finding = this.#admitted(given);
    if (finding === undefined) return;
    let slot = this.#slots.get(finding.mod);
    if (slot === undefined) {
      if (finding.outcome === undefined) return;
      slot = new ModuleSlot(finding.mod, this.#slotOwner);
      this.#slots.set(finding.mod, slot);
    }
    slot.offer(finding);
  }

  /** A finding that is not admitted is a failure; undefined when it has to wait. */
  #admitted(finding: Finding): Finding | undefined {
    const { mod, outcome, paths } = finding;
    if (outcome === undefined || outcome instanceof VeripyError) return finding;
    const admission = this.#admissionOf(outcome);
    if (admission === "now") return finding;
    if (admission === "later") return undefined;
    const key = `${outcome.tree} ${admission.message}`;
    return { mod, outcome: admission, key, ...(paths === undefined ? {} : { paths }) };
  }

  #follow(hint: ChangeHint): void {
    if (hint !== "anything") this.#quiet.disturb();
    this.#hint = hint === "anything" || this.#hint === "anything" ? "anything" : this.#hint.union(hint);
    this.#rescan ??= this.#rescanUntilCalm();
  }

  async #rescanUntilCalm(): Promise<void> {
    // Yields first: otherwise this could end before the caller has set `#rescan`.
    await Promise.resolve();
    while (!this.#stopped.signal.aborted && (this.#hint === "anything" || this.#hint.size > 0)) {
      const hint = this.#hint;
      this.#hint = new Set();
      await this.#scan(hint);
    }
    this.#rescan = undefined;
  }

  async #scan(hint: ChangeHint): Promise<void> {
    const { modsDir } = this.#options;
    try {
      if (hint === "anything") await this.#compareAll();
      // Such a path may be an editor's temporary file: its module is loaded before the whole directory is compared.
      else if (!(await this.#scanner.look(hint))) this.#watcher.pollSoon();
      this.#scanTrouble = undefined;
    } catch (error) {
      const reason = messageOf(error);
      if (reason === this.#scanTrouble) return;
      this.#scanTrouble = reason;
      log.error(
        "Cannot list {modsDir}: {reason}. The modules stay as they are until it can be listed again.",
        {
          modsDir,
          reason,
        },
      );
    }
  }

  async #compareAll(): Promise<void> {
    const startedAt = performance.now();
    await this.#scanner.scan();
    this.#watcher.rest(restFactor * (performance.now() - startedAt));
  }

  #tell(change: ModuleChange): void {
    this.#sorted = undefined;
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        log.error("A listener for module changes failed: {reason}", { reason: messageOf(error) });
      }
    }
  }

  #endVersion(version: RunnableVersion, drainMs: number): void {
    this.#retained.delete(version);
    const ended = version
      .stop(drainMs)
      .catch((error) =>
        log.error("{mod} did not stop: {reason}", { mod: version.mod, reason: messageOf(error) }),
      )
      .finally(() => this.#ending.delete(version));
    this.#ending.set(version, ended);
  }
}

function cannotRetire(what: string, why: string): VeripyError {
  return new VeripyError("bad_config", `Cannot retire '${what}': ${why}`);
}
