import { approvalOf, approvedModule, isGoverned } from "../approvals/approval.ts";
import type { ApprovedModule } from "../approvals/lock.ts";
import type { ServerDecisions } from "../approvals/server-decisions.ts";
import type { VeripyError } from "../base/errors.ts";
import type { CatalogueSignature } from "../catalogue/signed-catalogue.ts";
import { approvalError, goneError } from "./approval-errors.ts";
import type { ApprovalFiles } from "./approval-files.ts";
import { ExecTarget } from "./exec.ts";
import { type KnownModules, versionOfReport } from "./known-modules.ts";

/** How what was decided about a server acts on calls of its modules. */
export class CallRules {
  readonly #files: ApprovalFiles;
  readonly #modules: KnownModules;
  readonly #decisions: () => ServerDecisions | undefined;
  /** The approved versions that calls have named since the decisions were read. */
  readonly #targets = new Map<string, ExecTarget>();

  constructor(files: ApprovalFiles, modules: KnownModules, decisions: () => ServerDecisions | undefined) {
    this.#files = files;
    this.#modules = modules;
    this.#decisions = decisions;
  }

  /** Whether only approved versions may run. */
  get isGoverned(): boolean {
    const current = this.#decisions();
    return current !== undefined && isGoverned(current);
  }

  isDenied(name: string, tree: string): boolean {
    return this.#decisions()?.isDenied(name, tree) === true;
  }

  /** The version that a call must name, if only approved ones may run; undefined when any verified one will do. Throws `not_approved`. */
  approvedFor(name: string, tree?: string): ApprovedModule | undefined {
    const current = this.#decisions();
    if (current === undefined || !isGoverned(current)) return undefined;
    const approved = approvedModule(current, name);
    // The home may deny what the lock in use approves.
    if (approved !== undefined) this.refuseDenied(name, tree ?? approved.tree);
    if (approved !== undefined && (tree === undefined || tree === approved.tree)) return approved;
    const report = this.#modules.reports.get(name);
    const approval =
      report === undefined
        ? ({ state: "pending", changed: ["new"] } as const)
        : approvalOf(versionOfReport(report), current);
    throw approvalError(name, approval, current, this.#files);
  }

  /** Throws `not_approved` for a version that was denied. */
  refuseDenied(name: string, tree: string): void {
    const current = this.#decisions();
    if (current === undefined || !this.isDenied(name, tree)) return;
    throw approvalError(name, { state: "denied", changed: [] }, current, this.#files);
  }

  /** The approved version as calls name it, once `prepare` was called for it. */
  prepared(name: string): ExecTarget | undefined {
    return this.#targets.get(name);
  }

  prepare(name: string, approved: ApprovedModule, signed: CatalogueSignature | undefined): ExecTarget {
    const target = new ExecTarget(name, approved.tree, approved.files[name], signed);
    this.#targets.set(name, target);
    return target;
  }

  /** The error of a call that named the approved version, which the server no longer has. */
  gone(name: string, tree: string): VeripyError {
    return goneError(name, tree, this.#modules.reports.get(name));
  }

  /** What was decided has changed, or the catalogue. */
  decisionsChanged(): void {
    this.#targets.clear();
  }
}
