import {
  type Approval,
  approvalOf,
  approvedModule,
  isGoverned,
  type JudgedVersion,
} from "../approvals/approval.ts";
import type { DecisionRecord } from "../approvals/decision-log.ts";
import { compareVersions, type VersionDifference } from "../approvals/difference.ts";
import type { ApprovedModule } from "../approvals/lock.ts";
import type { PlaceCatalogue } from "../approvals/lock-edits.ts";
import type { SourceStore } from "../approvals/source-store.ts";
import type { CatalogueMark } from "../catalogue/catalogue-mark.ts";
import type { ModuleReport } from "../protocol/messages.ts";
import { lockedError, notApprovedHere, otherKeyError } from "./approval-errors.ts";
import type { ApprovalFiles } from "./approval-files.ts";
import { CallRules } from "./call-rules.ts";
import { DecisionFiles } from "./decision-files.ts";
import { DecisionWriter } from "./decision-writer.ts";
import { type KnownModules, versionOf, versionOfReport } from "./known-modules.ts";
import { sameReport } from "./report-difference.ts";
import type { VerifiedModule } from "./verifier.ts";

export interface DecideOptions {
  /** Kept with the decision, for later readers. */
  note?: string | undefined;
}

/** Called when a module becomes pending, by a change at the server or of the lock, and for each other version of it that is pending, too. */
export type OnPending = (mod: string, approval: Approval) => void;

/**
 * What was decided about the modules of one server, in its `veripy.lock`, and how that acts on them. Without a lock, every
 * module is "not approved", and runs once it is verified.
 */
export class Approvals {
  readonly #files: ApprovalFiles;
  readonly #decisions: DecisionFiles;
  readonly #writer: DecisionWriter;
  readonly #modules: KnownModules;
  readonly #onPending: OnPending;
  /** How the decisions act on calls. */
  readonly calls: CallRules;
  /** The modules that are pending now, as they were reported. */
  #pending = new Map<string, ModuleReport>();

  /** Use `connect`. */
  constructor(files: ApprovalFiles, modules: KnownModules, onPending: OnPending) {
    this.#files = files;
    this.#modules = modules;
    this.#onPending = onPending;
    this.#decisions = new DecisionFiles(files, () => this.#changed());
    this.#writer = new DecisionWriter(files, this.#decisions);
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
    const name = this.nameOf(mod);
    return this.#judged(name, this.#currentVersion(name));
  }

  /** What was decided about exactly this version, which the server may have replaced since. */
  judge(verified: VerifiedModule): Approval {
    return this.#judged(verified.mod, versionOf(verified));
  }

  /** The same for a version of which only the tree is known: if it is pending, its code has changed, or it is new. */
  ofTree(mod: string, tree: string): Approval {
    const name = this.nameOf(mod);
    const { current } = this.#decisions;
    if (current?.isDenied(name, tree) === true) return { state: "denied", changed: [] };
    if (this.approved(name)?.tree === tree) return { state: "approved", changed: [] };
    if (current === undefined || !isGoverned(current)) return { state: "not approved", changed: [] };
    return { state: "pending", changed: this.approved(name) === undefined ? ["new"] : ["code"] };
  }

  /** The approved version of a module; undefined when there is none. */
  approved(mod: string): ApprovedModule | undefined {
    const { current } = this.#decisions;
    return current === undefined ? undefined : approvedModule(current, this.nameOf(mod));
  }

  /** The full name of a module that is reported, or else approved: `hello` stands for `hello.ts`. */
  nameOf(mod: string): string {
    const name = this.#modules.nameOf(mod);
    if (this.#modules.reports.has(name)) return name;
    const approved = this.#decisions.current?.entry?.modules ?? {};
    return [mod, `${mod}.ts`, `${mod}.js`].find((one) => Object.hasOwn(approved, one)) ?? name;
  }

  /** The names of all modules that are approved or reported, sorted. */
  get mods(): string[] {
    const approved = Object.keys(this.#decisions.current?.entry?.modules ?? {});
    return [...new Set([...this.#modules.reports.keys(), ...approved])].sort();
  }

  /** The approved version beside this one, which the server runs; `after` is undefined for a module that it no longer has. */
  async difference(mod: string, after: VerifiedModule | undefined): Promise<VersionDifference> {
    const name = after?.mod ?? this.nameOf(mod);
    const before = this.approved(name);
    const sources = before && (await this.#files.store?.read(name, before.tree));
    const current = after && { ...versionOf(after), files: after.files };
    return compareVersions(name, this.#judged(name, current), before, sources, current);
  }

  /** Approves exactly this version. Throws `bad_config` when the lock or the store can't be written; nothing is changed then. */
  approve(verified: VerifiedModule, { note }: DecideOptions = {}): Promise<void> {
    return this.#writer.approve(verified, note);
  }

  /** Denies exactly this version, and removes the module's approval, whichever version it is for. */
  deny(mod: string, tree: string, { note }: DecideOptions = {}): Promise<void> {
    return this.#writer.deny(this.nameOf(mod), tree, note);
  }

  /** Removes a module's approval. Throws `not_found` when it has none. */
  async unapprove(mod: string): Promise<ApprovedModule> {
    const name = this.nameOf(mod);
    const approved = this.approved(name);
    if (approved === undefined) throw notApprovedHere(name, this.#files);
    await this.#writer.unapprove(name, approved.tree);
    return approved;
  }

  /** What was seen and decided about this server's modules, or about one of them, oldest first. */
  async log(mod?: string): Promise<DecisionRecord[]> {
    const name = mod === undefined ? undefined : this.nameOf(mod);
    const records = (await this.#files.log?.read()) ?? [];
    return records.filter((one) => name === undefined || one.mod === name);
  }

  /** Resolves when everything that was verified so far is in the store and the log. */
  settled(): Promise<void> {
    return this.#decisions.settled();
  }

  // What follows is for the client only.

  /**
   * A connection was made: reads what was decided about the server that showed this key, and whose catalogue had this name
   * before. Throws `bad_config`.
   */
  connected(fingerprint: string, earlierKeys: readonly string[], catalogue?: string): Promise<void> {
    return this.#decisions.connected(fingerprint, earlierKeys, catalogue);
  }

  /** The server has this catalogue, whose signature was checked. */
  joined(catalogue: PlaceCatalogue): Promise<void> {
    return this.#decisions.joined(catalogue);
  }

  /** What the lock in use says of a catalogue. */
  markOf(name: string): CatalogueMark | undefined {
    return this.#decisions.markOf(name);
  }

  /** Throws `not_approved` for a server of which nothing may run. */
  refuseServer(): void {
    const { current } = this.#decisions;
    if (current === undefined || this.#files.decide) return;
    if (current.isOtherKey) throw otherKeyError(current, this.#files);
    if (current.locked && current.entry === undefined) throw lockedError(current.place, this.#files);
  }

  /** The server has proven which key comes next. */
  rotated(fingerprint: string, next: string): void {
    this.#decisions.rotated(fingerprint, next);
  }

  /** The server has reported this module, or that it was removed, or all of them. */
  reported(mod?: string): void {
    const wasPending = this.#pending;
    if (mod === undefined) this.#pending = new Map();
    for (const name of mod === undefined ? this.#modules.reports.keys() : [mod]) {
      const before = wasPending.get(name);
      this.#pending.delete(name);
      const report = this.#modules.reports.get(name);
      const approval = this.of(name);
      if (report === undefined || approval.state !== "pending") continue;
      this.#pending.set(name, report);
      if (!sameReport(before, report)) this.#onPending(name, approval);
    }
  }

  /** Keeps a version that was fetched and verified. */
  fetched(verified: VerifiedModule): void {
    this.#decisions.fetched(verified);
  }

  close(): void {
    this.#decisions.close();
  }

  #changed(): void {
    this.calls.decisionsChanged();
    this.reported();
  }

  #judged(name: string, version: JudgedVersion | undefined): Approval {
    const { current } = this.#decisions;
    if (current !== undefined && version !== undefined) return approvalOf(version, current);
    // A module that the server no longer has.
    return { state: this.approved(name) === undefined ? "not approved" : "approved", changed: [] };
  }

  #currentVersion(name: string): JudgedVersion | undefined {
    const verdict = this.#modules.current(name)?.verdict;
    if (verdict?.verified === true) return versionOf(verdict);
    const report = this.#modules.reports.get(name);
    return report === undefined ? undefined : versionOfReport(report);
  }
}
