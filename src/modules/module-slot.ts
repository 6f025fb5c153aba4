import { detailOf, messageOf, VeripyError } from "../base/errors.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { ModuleReport } from "../protocol/messages.ts";
import { type Finding, isModuleName } from "../source/module-scanner.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { RunnableVersion } from "./module-version.ts";

/** What became of a module: the broadcasts of the protocol, by their names there. */
export type ModuleChange =
  | { readonly kind: "modload" | "modreload" | "modunload"; readonly report: ModuleReport }
  | ModuleFailure;

/** The file as it is now does not load. */
export interface ModuleFailure {
  readonly kind: "moderror";
  readonly mod: string;
  /** For clients: without paths of this machine. */
  readonly error: string;
  /** For the server's own log. */
  readonly detail: string;
  /** Other modules that `error` names: files that this one imports. Not every client may know of them. */
  readonly others: readonly string[];
}

/** What a slot needs of the registry. */
export interface SlotOwner {
  /** Bad news is believed when it still holds after this long: a save can pass through half a file, or none. */
  readonly settleMs: number;
  /** Versions kept beside the current one. */
  readonly retain: number;
  load(source: ModuleSource): Promise<RunnableVersion>;
  /** Called after the change has happened. Must not throw. */
  changed(change: ModuleChange): void;
  /** Lets a version that is no longer reachable finish its calls and end. Must not throw. */
  end(version: RunnableVersion): void;
  /** The slot holds nothing and waits for nothing. */
  emptied(slot: ModuleSlot): void;
}

/**
 * One module's name and the versions behind it. Findings are worked off one at a time, and of those that came
 * meanwhile only the newest counts, so that an older content never replaces a newer one.
 */
export class ModuleSlot {
  readonly mod: string;
  readonly #owner: SlotOwner;
  #current: RunnableVersion | undefined;
  /** Those before the current one, newest first. */
  #kept: RunnableVersion[] = [];
  /** The `key` of the finding that does not load, if that is what was found last. */
  #failure: string | undefined;
  #next: Finding | undefined;
  #work: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #closed = false;
  readonly #firstApplied = Promise.withResolvers<void>();

  constructor(mod: string, owner: SlotOwner) {
    this.mod = mod;
    this.#owner = owner;
  }

  /** Resolves when the first finding has become a version, a failure, or was overtaken by the next one. */
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

  /** What was found replaces whatever was waiting to be worked off. */
  offer(finding: Finding): void {
    if (this.#closed) return;
    this.#next = finding;
    this.#wake?.();
    this.#work ??= this.#workOff();
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
    if (this.versions.length === 0 && this.#failure === undefined) this.#owner.emptied(this);
  }

  async #apply({ outcome, key, paths = [] }: Finding): Promise<void> {
    if (outcome === undefined) {
      if (!(await this.#superseded())) this.#unload();
    } else if (outcome instanceof VeripyError) {
      if (!(await this.#superseded())) this.#fail(key, outcome, paths);
    } else if (outcome.tree === this.#current?.tree) {
      this.#failure = undefined;
    } else {
      await this.#load(outcome, key);
    }
  }

  async #load(source: ModuleSource, key: string): Promise<void> {
    let version: RunnableVersion;
    try {
      version = await this.#owner.load(source);
    } catch (error) {
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

  /** Waits a moment; true when something newer has come, or nobody wants to know any more. */
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
    this.#failure = undefined;
    // The same content came back: the new version takes over the calls by tree.
    const twin = this.#kept.find((kept) => kept.tree === version.tree);
    const kept = this.#kept.filter((each) => each !== twin);
    if (before !== undefined) kept.unshift(before);
    this.#kept = kept.slice(0, this.#owner.retain);
    before?.retire();
    // Clients first: a process that ends keeps the machine busy for a moment.
    this.#owner.changed({ kind: before === undefined ? "modload" : "modreload", report: reportOf(version) });
    if (twin !== undefined) this.#owner.end(twin);
    for (const old of kept.slice(this.#owner.retain)) this.#owner.end(old);
  }

  #asFault(error: unknown): VeripyError {
    if (error instanceof VeripyError) return error;
    return new VeripyError("bad_module", `${this.mod}: it does not load.`, {
      detail: `${this.mod}: ${messageOf(error)}`,
    });
  }

  /** One change for each broken content, however often its file is touched. */
  #fail(key: string, fault: VeripyError, paths: Iterable<string>): void {
    const { mod } = this;
    const error = fault.message;
    const detail = detailOf(fault);
    const isKnown = this.#failure === key;
    this.#failure = key;
    if (isKnown) return;
    const others = [...paths].filter((path) => path !== mod && isModuleName(path) && error.includes(path));
    this.#owner.changed({ kind: "moderror", mod, error, detail, others });
  }

  #unload(): void {
    const last = this.#current;
    this.#failure = undefined;
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

/** `{"mod","desc","sum","tree","input"?}`, what identifies a version on the wire. */
export function reportOf(
  version: Pick<RunnableVersion, "mod" | "desc" | "sum" | "tree" | "input">,
): ModuleReport & { readonly tree: Sha256Hex } {
  const { mod, desc = "", sum, tree, input } = version;
  return { mod, desc, sum, tree, ...(input === undefined ? {} : { input }) };
}
