import type { Approval, ApprovalChange } from "../approvals/approval.ts";
import { approvedModule } from "../approvals/approval.ts";
import type { ServerPlace } from "../approvals/lock-edits.ts";
import type { ServerDecisions } from "../approvals/server-decisions.ts";
import { VeripyError } from "../base/errors.ts";
import type { ModuleReport } from "../protocol/messages.ts";
import type { ApprovalFiles } from "./approval-files.ts";

// The errors with code `not_approved`. Each says what to type, and nothing in them comes from the server but names.

/** With `--locked`, a server that the lock has no entry for. */
export function lockedError(
  { address }: ServerPlace,
  { lockFile }: Pick<ApprovalFiles, "lockFile">,
): VeripyError {
  const where = lockFile === undefined ? "there is no lock" : `${lockFile} has no entry for it`;
  return new VeripyError(
    "not_approved",
    `Nothing of ${address} is approved: ${where}. Look at its modules with 'veripy-client diff', and approve them with 'veripy-client approve'.`,
  );
}

/** A module without an approval that could be removed. */
export function notApprovedHere(
  mod: string,
  { lockFile, address }: Pick<ApprovalFiles, "lockFile" | "address">,
): VeripyError {
  const where = lockFile ?? "any lock";
  return new VeripyError("not_found", `No version of ${mod} is approved for ${address} in ${where}.`);
}

export function noLockError(): VeripyError {
  return new VeripyError("bad_config", "Decisions need a lock to be written to: give its path as 'lock'.");
}

/** A server at an address that has approvals, but for another key. */
export function otherKeyError(
  { place, otherKeys }: ServerDecisions,
  { lockFile = "the lock" }: Pick<ApprovalFiles, "lockFile">,
): VeripyError {
  if (otherKeys.every((key) => place.catalogue?.members.includes(key) === true))
    return new VeripyError(
      "not_approved",
      `Nothing of ${place.address} may run: ${lockFile} has approvals for other servers of the catalogue ${place.catalogue?.name}, ` +
        "and none for this one. Approve its modules, for every server of the catalogue: veripy-client approve",
    );
  return new VeripyError(
    "not_approved",
    `Nothing of ${place.address} may run: ${lockFile} has approvals for it, but for the key ${otherKeys.join(" or ")}. ` +
      `The server has the key ${place.fingerprint}, and no rotation has proven that it is the same server. ` +
      "If that is right, approve its modules again: veripy-client approve",
  );
}

/** A module that may not run, because of what was decided, or because nothing was. */
export function approvalError(
  mod: string,
  { state, changed }: Approval,
  decisions: ServerDecisions,
  { lockFile }: Pick<ApprovalFiles, "lockFile">,
): VeripyError {
  if (state === "denied") {
    return new VeripyError(
      "not_approved",
      `${mod} was denied in this version. To allow it after all: veripy-client approve ${mod}`,
    );
  }
  if (decisions.isOtherKey) return otherKeyError(decisions, { lockFile });
  const approved = approvedModule(decisions, mod);
  const why =
    approved === undefined
      ? "it was never approved, and other modules of this server were"
      : state === "approved"
        ? `only the tree ${approved.tree} is approved`
        : `it has changed since it was approved (${changed.map(changeWord).join(", ")})`;
  return new VeripyError(
    "not_approved",
    `${mod} may not run: ${why}. See the difference with 'veripy-client diff ${mod}', and approve it with 'veripy-client approve ${mod}'.`,
  );
}

/** The server no longer has the approved version, neither as the current one nor as one that it retains. */
export function goneError(mod: string, tree: string, report: ModuleReport | undefined): VeripyError {
  const now =
    report === undefined ? "it no longer has the module" : `it now runs ${report.tree ?? report.sum}`;
  return new VeripyError(
    "not_approved",
    `${mod} may not run: the server no longer has the approved version ${tree}; ${now}. ` +
      `See the difference with 'veripy-client diff ${mod}', and approve it with 'veripy-client approve ${mod}'.`,
    { started: false },
  );
}

function changeWord(change: ApprovalChange): string {
  return change === "schema" ? "arguments" : change;
}
