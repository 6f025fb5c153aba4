import { detailOf, messageOf, VeripyError } from "../base/errors.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { ModuleReport } from "../protocol/messages.ts";
import { type Finding, isModuleName } from "../source/module-scanner.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { RunnableVersion } from "./module-version.ts";

/** A change of a module, named like its broadcast in the protocol. */
export type ModuleChange =
  | { readonly kind: "modload" | "modreload" | "modunload"; readonly report: ModuleReport }
  | ModuleFailure;

/** The current content of the file does not load. */
export interface ModuleFailure {
  readonly kind: "moderror";
  readonly mod: string;
  /** For clients: without paths of this machine. */
  readonly error: string;
  /** For the server's own log. */
  readonly detail: string;
  /** Other modules that `error` names: imported files. Not every client may know of them. */
  readonly others: readonly string[];
}

/** What a slot needs of the registry. */
export interface SlotOwner {
  /** A missing or broken file counts only after this long: while it is saved, a file may be incomplete or missing. */
  readonly settleMs: number;
  /** Versions kept beside the current one, unless a module wants fewer. */
  readonly retain: number;
  load(source: ModuleSource): Promise<RunnableVersion>;
  /** Called after the change has happened. Must not throw. */
  changed(change: ModuleChange): void;
  /** The version was replaced, and is kept. */
  kept(version: RunnableVersion): void;
  /** Lets a version that is no longer reachable finish its calls and end. Must not throw. */
  end(version: RunnableVersion): void;
  /** The slot is empty: no version, no failure, and no finding. */
  emptied(slot: ModuleSlot): void;
}

/**
 * One module's name and its versions. Findings are handled one at a time. Of those that come meanwhile only the newest
 * counts, so older content never replaces newer content.
 *
 * A version that declares a port of the current one can't start beside it. The current one ends its process first, when
 * its calls have ended, and starts again if the new one does not load: for that moment nobody listens.
 */
export class ModuleSlot {
  readonly mod: string;
  readonly #owner: SlotOwner;
  #current: RunnableVersion | undefined;
  /** Those before the current one, newest first. */
  #kept: RunnableVersion[] = [];
  /** Which content of the file does not load; undefined when it does, or there is no file. */
  #failedKey: string | undefined;
  #next: Finding | undefined;
  #work: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #closed = false;
  readonly #firstApplied = Promise.withResolvers<void>();

  constructor(mod: string, owner: SlotOwner) {
    this.mod = mod;
    this.#owner = owner;
  }

  /** Resolves when the first finding has been handled: it is a version or a failure, or a newer finding replaced it. */
  get firstApplied(): Promise<void> {
    return this.#firstApplied.promise;
  }

  get current(): RunnableVersion | undefined {
    return this.#current;
  }

  /** Current and kept ones, newest first. */
  get versions(): readonly RunnableVersion[] {
    return this.#current === undefined ? this.#kept : [this.#current, ...this.#kept];
  }

  byTree(tree: string): RunnableVersion | undefined {
    if (this.#current?.tree === tree) return this.#current;
    return this.#kept.find((version) => version.tree === tree);
  }

  /** The finding replaces one that waits to be handled. */
  offer(finding: Finding): void {
    if (this.#closed) return;
    this.#next = finding;
    this.#wake?.();
    this.#work ??= this.#workOff();
  }

  /** A version that was listed does not load: takes the module from the list. Does nothing if it is no longer current. */
  withdraw(version: RunnableVersion, error: unknown): void {
    if (this.#closed || this.#current !== version) return;
    this.#unload();
    const { tree, files } = version.source;
    this.#fail(
      tree,
      this.#asFault(error),
      files.map(({ path }) => path),
    );
  }

  /** Ends the current version, and those that are kept, if the current one is among these. */
  unload(versions: readonly RunnableVersion[]): void {
    if (!this.#closed && this.#current !== undefined && versions.includes(this.#current)) this.#unload();
  }

  /** Resolves when everything that was offered until now has been handled. */
  get idle(): Promise<void> {
    return this.#work ?? Promise.resolve();
  }

  /** Ends those of these versions that are kept. */
  drop(versions: readonly RunnableVersion[]): void {
    const dropped = this.#kept.filter((version) => versions.includes(version));
    this.#kept = this.#kept.filter((version) => !versions.includes(version));
    for (const version of dropped) this.#owner.end(version);
  }

  /** Ends all versions and takes no more findings. Resolves when no load is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#next = undefined;
    this.#wake?.();
    this.#endAll();
    await this.#work;
    this.#firstApplied.resolve();
  }

  async #workOff(): Promise<void> {
    // Not before `#work` is set: `offer` must not start a second one.
    await Promise.resolve();
    while (this.#next !== undefined) {
      const finding = this.#next;
      this.#next = undefined;
      await this.#apply(finding);
      this.#firstApplied.resolve();
    }
    this.#work = undefined;
    if (this.versions.length === 0 && this.#failedKey === undefined) this.#owner.emptied(this);
  }

  async #apply({ outcome, key, paths = [] }: Finding): Promise<void> {
    if (outcome === undefined) {
      if (!(await this.#superseded())) this.#unload();
    } else if (outcome instanceof VeripyError) {
      if (!(await this.#superseded())) this.#fail(key, outcome, paths);
    } else if (outcome.tree === this.#current?.tree) {
      this.#failedKey = undefined;
    } else {
      await this.#load(outcome, key);
    }
  }

  async #load(source: ModuleSource, key: string): Promise<void> {
    let version: RunnableVersion;
    // Two versions can't listen on one port. Everything that can be known without running the new one is known by now.
    const resting =
      this.#current !== undefined && sharePorts(this.#current.source, source) ? this.#current : undefined;
    await resting?.rest();
    try {
      version = await this.#owner.load(source);
    } catch (error) {
      resting?.wake();
      if (!(await this.#superseded()))
        this.#fail(
          key,
          this.#asFault(error),
          source.files.map(({ path }) => path),
        );
      return;
    }
    if (this.#closed) this.#owner.end(version);
    else this.#swap(version);
  }

  /** Waits for `settleMs`. True when a newer finding has come, or the slot was closed. */
  async #superseded(): Promise<boolean> {
    if (this.#next === undefined && !this.#closed && this.#owner.settleMs > 0) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, this.#owner.settleMs);
      });
      clearTimeout(timer);
      this.#wake = undefined;
    }
    return this.#next !== undefined || this.#closed;
  }

  #swap(version: RunnableVersion): void {
    const before = this.#current;
    this.#current = version;
    this.#failedKey = undefined;
    // If the same content came back, the new version replaces the kept one.
    const twin = this.#kept.find((kept) => kept.tree === version.tree);
    const kept = this.#kept.filter((each) => each !== twin);
    if (before !== undefined) kept.unshift(before);
    const retain = Math.min(this.#owner.retain, ownRetain(version));
    this.#kept = kept.slice(0, retain);
    before?.replaced();
    // Clients are told first, because ending a process keeps the machine busy for a moment.
    this.#owner.changed({ kind: before === undefined ? "modload" : "modreload", report: reportOf(version) });
    if (twin !== undefined) this.#owner.end(twin);
    for (const old of kept.slice(retain)) this.#owner.end(old);
    if (before !== undefined && this.#kept.includes(before)) this.#owner.kept(before);
  }

  #asFault(error: unknown): VeripyError {
    if (error instanceof VeripyError) return error;
    return new VeripyError("bad_module", `${this.mod}: it does not load.`, {
      detail: `${this.mod}: ${messageOf(error)}`,
    });
  }

  /** Reports broken content once, however often its file is touched. */
  #fail(key: string, fault: VeripyError, paths: Iterable<string>): void {
    const { mod } = this;
    const error = fault.message;
    const detail = detailOf(fault);
    if (this.#failedKey === key) return;
    this.#failedKey = key;
    const others = [...paths].filter((path) => path !== mod && isModuleName(path) && error.includes(path));
    this.#owner.changed({ kind: "moderror", mod, error, detail, others });
  }

  #unload(): void {
    const last = this.#current;
    this.#failedKey = undefined;
    this.#endAll();
    if (last !== undefined) this.#owner.changed({ kind: "modunload", report: reportOf(last) });
  }

  #endAll(): void {
    const { versions } = this;
    this.#current = undefined;
    this.#kept = [];
    for (const version of versions) this.#owner.end(version);
  }
}

/** Whether the two can't run at the same time. */
export function sharePorts(a: ModuleSource, b: ModuleSource): boolean {
  const ports = portsOf(a);
  return portsOf(b).some((port) => ports.includes(port));
}

/** Those that it declares. Under `"all"` they are not known. */
function portsOf({ manifest }: ModuleSource): readonly number[] {
  if (manifest instanceof VeripyError || manifest.permissions === "all") return [];
  return manifest.permissions.listen ?? [];
}

/** How many earlier versions a module wants to be kept. */
function ownRetain({ source: { manifest } }: RunnableVersion): number {
  const { retain = Number.POSITIVE_INFINITY } = manifest instanceof VeripyError ? {} : manifest.limits;
  return retain;
}

/** What clients are told of a version. */
export function reportOf(
  version: Pick<RunnableVersion, "mod" | "desc" | "sum" | "tree" | "input" | "permissions" | "describedBy">,
): ModuleReport & { readonly tree: Sha256Hex } {
  const { mod, desc = "", sum, tree, input, permissions, describedBy } = version;
  return { mod, desc, sum, tree, ...(input === undefined ? {} : { input }), permissions, describedBy };
}
