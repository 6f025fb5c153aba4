import {
  type Approval,
  approvalOf,
  approvedModule,
  isGoverned,
  type JudgedVersion,
} from "../approvals/approval.ts";
import type { DecisionLog, DecisionRecord } from "../approvals/decision-log.ts";
import { now } from "../approvals/decision-log.ts";
import { compareVersions, type VersionDifference } from "../approvals/difference.ts";
import type { ApprovedModule, Lock } from "../approvals/lock.ts";
import { withApproval, withDenial, withoutApproval } from "../approvals/lock-edits.ts";
import { editLock } from "../approvals/lock-file.ts";
import type { SourceStore } from "../approvals/source-store.ts";
import { VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { lockedError, noLockError, otherKeyError } from "./approval-errors.ts";
import type { ApprovalFiles } from "./approval-files.ts";
import { CallRules } from "./call-rules.ts";
import { DecisionFiles } from "./decision-files.ts";
import { type KnownModules, versionOf, versionOfReport } from "./known-modules.ts";
import type { VerifiedModule } from "./verifier.ts";

export interface DecideOptions {
  /** Kept with the decision, for whoever reads it later. */
  note?: string | undefined;
}

/** Called when a module becomes pending: by a change at the server, or of the lock. */
export type OnPending = (mod: string, approval: Approval) => void;

/**
 * What was decided about the modules of one server, in its `veripy.lock`, and how that acts on them. Without a lock, every
 * module is "not approved", and runs once it is verified.
 */
export class Approvals {
  readonly #files: ApprovalFiles;
  readonly #decisions: DecisionFiles;
  readonly #modules: KnownModules;
  readonly #onPending: OnPending;
  /** How the decisions act on calls. */
  readonly calls: CallRules;
  /** The modules that are pending now. */
  #pending = new Set<string>();

  /** Use `connect`. */
  constructor(files: ApprovalFiles, modules: KnownModules, onPending: OnPending) {
    this.#files = files;
    this.#modules = modules;
    this.#onPending = onPending;
    this.#decisions = new DecisionFiles(files, () => this.#changed());
    this.calls = new CallRules(files, modules, () => this.#decisions.current);
  }

  /** The lock that decisions are read from and written to; undefined without one. It need not exist yet. */
  get lockFile(): string | undefined {
    return this.#files.lockFile;
  }

  /** Whether only approved modules of this server run. */
  get isGoverned(): boolean {
    const { current } = this.#decisions;
    return current !== undefined && isGoverned(current);
  }

  /** Where the sources of verified versions are kept; undefined without a home. */
  get store(): SourceStore | undefined {
    return this.#files.store;
  }

  /** What was decided about the module's current version: as it was verified, or else as the server reports it. */
  of(mod: string): Approval {
    const name = this.#nameOf(mod);
    const { current } = this.#decisions;
    const version = this.#currentVersion(name);
    if (current === undefined || version === undefined) return { state: "not approved", changed: [] };
    return approvalOf(version, current);
  }

  /** The approved version of a module; undefined when there is none. */
  approved(mod: string): ApprovedModule | undefined {
    const { current } = this.#decisions;
    return current === undefined ? undefined : approvedModule(current, this.#nameOf(mod));
  }

  /** The names of all modules that are approved or reported, sorted. */
  get mods(): string[] {
    const approved = Object.keys(this.#decisions.current?.entry?.modules ?? {});
    return [...new Set([...this.#modules.reports.keys(), ...approved])].sort();
  }

  /** The approved version beside this one, which the server runs; `after` is undefined for a module that it no longer has. */
  async difference(mod: string, after: VerifiedModule | undefined): Promise<VersionDifference> {
    const name = after?.mod ?? this.#nameOf(mod);
    const before = this.approved(name);
    const sources = before && (await this.#files.store?.read(name, before.tree));
    const current = after && { ...versionOf(after), files: after.files };
    return compareVersions(name, this.of(name), before, sources, current);
  }

  /** Approves exactly this version. Throws `bad_config` when the lock or the store can't be written; nothing is changed then. */
  async approve(verified: VerifiedModule, { note }: DecideOptions = {}): Promise<void> {
    const approved: ApprovedModule = {
      tree: verified.tree,
      files: Object.fromEntries(verified.files.map(({ path, sum }) => [path, sum])),
      ...(verified.description === undefined ? {} : { description: verified.description }),
      ...(verified.permissions === undefined ? {} : { permissions: verified.permissions }),
      ...(verified.input === undefined ? {} : { input: verified.input }),
      described_by: verified.describedBy,
      approved_at: now(),
      approved_by: this.#files.by,
      ...(note === undefined ? {} : { note }),
    };
    // First the source: an approval whose source is missing could not be compared with what comes after it.
    await this.#keep(verified);
    await this.#edit((lock, place) => withApproval(lock, place, verified.mod, approved));
    await this.#record("approved", verified.mod, verified.tree, note);
  }

  /** Denies exactly this version, and removes the module's approval, whichever version it is for. */
  async deny(mod: string, tree: string, { note }: DecideOptions = {}): Promise<void> {
    const name = this.#nameOf(mod);
    const sum = tree as ApprovedModule["tree"];
    const denial = {
      tree: sum,
      denied_at: now(),
      denied_by: this.#files.by,
      ...(note === undefined ? {} : { note }),
    };
    await this.#edit((lock, place) => withDenial(lock, place, name, denial));
    await this.#record("denied", name, tree, note);
  }

  /** Removes a module's approval. Throws `not_found` when it has none. */
  async unapprove(mod: string): Promise<ApprovedModule> {
    const name = this.#nameOf(mod);
    const approved = this.approved(name);
    if (approved === undefined)
      throw new VeripyError(
        "not_found",
        `No version of ${name} is approved for this server in ${this.#files.lockFile ?? "any lock"}.`,
      );
    await this.#edit((lock, { fingerprint }) => withoutApproval(lock, fingerprint, name));
    await this.#record("unapproved", name, approved.tree, undefined);
    return approved;
  }

  /** What was seen and decided about this server's modules, or about one of them, oldest first. */
  async log(mod?: string): Promise<DecisionRecord[]> {
    const name = mod === undefined ? undefined : this.#nameOf(mod);
    const records = (await this.#files.log?.read()) ?? [];
    return records.filter((one) => name === undefined || one.mod === name);
  }

  /** Resolves when everything that was verified so far is in the store and the log. */
  settled(): Promise<void> {
    return this.#decisions.settled();
  }

  // What follows is for the client only.

  /** A connection was made: reads what was decided about the server that showed this key. Throws `not_approved`, `bad_config`. */
  async connected(fingerprint: string, earlierKeys: readonly string[]): Promise<void> {
    await this.#decisions.connected(fingerprint, earlierKeys);
    const { current } = this.#decisions;
    if (current === undefined || this.#files.decide) return;
    if (current.isOtherKey) throw otherKeyError(current, this.#files);
    if (current.locked && current.entry === undefined) throw lockedError(current.place, this.#files);
  }

  /** The server has proven which key comes next. */
  rotated(fingerprint: string, next: string): void {
    this.#decisions.rotated(fingerprint, next);
  }

  /** The server has reported this module, or all of them. */
  reported(mod?: string): void {
    const wasPending = this.#pending;
    if (mod === undefined) this.#pending = new Set();
    if (!this.isGoverned) return;
    for (const name of mod === undefined ? this.#modules.reports.keys() : [mod]) {
      const approval = this.of(name);
      const isNew = !wasPending.has(name);
      this.#pending.delete(name);
      if (approval.state !== "pending") continue;
      this.#pending.add(name);
      if (isNew) this.#onPending(name, approval);
    }
  }

  /** Keeps a version that was fetched and verified. */
  fetched(verified: VerifiedModule): void {
    this.#decisions.fetched(verified);
  }

  close(): void {
    this.#decisions.close();
  }

  /** A name that the server no longer reports may still be that of an approved module. */
  #nameOf(mod: string): string {
    const name = this.#modules.nameOf(mod);
    const modules = this.#decisions.current?.entry?.modules ?? {};
    if (this.#modules.reports.has(name)) return name;
    return [mod, `${mod}.ts`, `${mod}.js`].find((one) => Object.hasOwn(modules, one)) ?? name;
  }

  #changed(): void {
    this.calls.decisionsChanged();
    this.reported();
  }

  #currentVersion(name: string): JudgedVersion | undefined {
    const verdict = this.#modules.current(name)?.verdict;
    if (verdict?.verified === true) return versionOf(verdict);
    const report = this.#modules.reports.get(name);
    return report === undefined ? undefined : versionOfReport(report);
  }

  async #keep(verified: VerifiedModule): Promise<void> {
    try {
      await this.#files.store?.keep(verified.files, { flush: true });
    } catch (error) {
      throw new VeripyError(
        "bad_config",
        `Cannot keep the source of ${verified.mod} in ${this.#files.store?.folder}: ${reasonOf(error)}. Nothing was approved.`,
        { cause: error },
      );
    }
  }

  async #edit(edit: (lock: Lock, place: { fingerprint: string; address: string }) => Lock): Promise<void> {
    const { lockFile } = this.#files;
    const { current } = this.#decisions;
    if (lockFile === undefined || current === undefined) throw noLockError();
    // An entry that a proven rotation carries to this key moves with the first edit.
    await editLock(lockFile, (lock) => edit(this.#decisions.carried(lock), current.place));
    await this.#decisions.refresh();
  }

  async #record(
    event: DecisionRecord["event"],
    mod: string,
    tree: string,
    note: string | undefined,
  ): Promise<void> {
    const { place } = this.#decisions.current ?? {};
    const { lockFile, log } = this.#files;
    if (place === undefined || lockFile === undefined) return;
    const { fingerprint: server, address } = place;
    await addTo(log, {
      event,
      server,
      address,
      mod,
      tree,
      lock: lockFile,
      ...(note === undefined ? {} : { note }),
    });
  }
}

/** The decision is made, and stands in the lock. */
async function addTo(log: DecisionLog | undefined, record: Omit<DecisionRecord, "at" | "by">): Promise<void> {
  await log?.add([record]);
}
