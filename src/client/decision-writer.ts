import type { DecisionRecord } from "../approvals/decision-log.ts";
import { now } from "../approvals/decision-log.ts";
import type { ApprovedModule, Lock } from "../approvals/lock.ts";
import { type ServerPlace, withApproval, withDenial, withoutApproval } from "../approvals/lock-edits.ts";
import { editLock } from "../approvals/lock-file.ts";
import { editShared } from "../approvals/shared-entry.ts";
import { VeripyError } from "../base/errors.ts";
import { reasonOf } from "../base/plain-reason.ts";
import { isSha256Hex } from "../base/sha256.ts";
import { noLockError } from "./approval-errors.ts";
import type { ApprovalFiles } from "./approval-files.ts";
import type { DecisionFiles } from "./decision-files.ts";
import type { VerifiedModule } from "./verifier.ts";

/** Writes decisions about one server's modules: to the lock first, which says what holds, and then to the log. */
export class DecisionWriter {
  readonly #files: ApprovalFiles;
  readonly #decisions: DecisionFiles;

  constructor(files: ApprovalFiles, decisions: DecisionFiles) {
    this.#files = files;
    this.#decisions = decisions;
  }

  /** Approves exactly this version. */
  async approve(verified: VerifiedModule, note: string | undefined): Promise<void> {
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

  /** Denies exactly this version, and removes the module's approval. */
  async deny(mod: string, tree: string, note: string | undefined): Promise<void> {
    if (!isSha256Hex(tree))
      throw new VeripyError(
        "bad_config",
        `Cannot deny '${tree}': a tree is 64 lowercase hexadecimal digits, as 'verify' prints it.`,
      );
    const denial = {
      tree,
      denied_at: now(),
      denied_by: this.#files.by,
      ...(note === undefined ? {} : { note }),
    };
    await this.#edit((lock, place) => withDenial(lock, place, mod, denial));
    await this.#record("denied", mod, tree, note);
  }

  /** Removes a module's approval, which is for this tree. */
  async unapprove(mod: string, tree: string): Promise<void> {
    await this.#edit((lock, { fingerprint }) => withoutApproval(lock, fingerprint, mod));
    await this.#record("unapproved", mod, tree, undefined);
  }

  async #keep(verified: VerifiedModule): Promise<void> {
    const { store } = this.#files;
    try {
      await store?.keep(verified.files, { flush: true });
    } catch (error) {
      throw new VeripyError(
        "bad_config",
        `Cannot keep the source of ${verified.mod} in ${store?.folder}: ${reasonOf(error)}. Nothing was approved.`,
        { cause: error },
      );
    }
  }

  async #edit(edit: (lock: Lock, place: ServerPlace) => Lock): Promise<void> {
    const { lockFile } = this.#files;
    const { current } = this.#decisions;
    if (lockFile === undefined || current === undefined) throw noLockError();
    // An entry that a proven rotation carries to this key moves with the first edit.
    const { place } = current;
    await editLock(lockFile, (lock) =>
      editShared(this.#decisions.carried(lock), place, (own) => edit(own, place)),
    );
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
    const record = { event, server, address, mod, tree, lock: lockFile };
    await log?.tryAdd([note === undefined ? record : { ...record, note }]);
  }
}
