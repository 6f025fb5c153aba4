import { type Approval, didYouMean, type VeripyClient, type VeripyError } from "../index.ts";
import { ClientOutput } from "./client-output.ts";
import { progressLine } from "./progress-line.ts";
import { endStatus, exitCodeFor, exitCodes, showStatus } from "./ui.ts";

/**
 * Verifies the named modules, or all, and prints each verdict as it arrives; a terminal also shows how many are done.
 * Resolves with the exit code: a module that is rejected, pending or denied counts more than one that could not be fetched.
 */
export async function verifyModules(client: VeripyClient, mods: string[], json: boolean): Promise<number> {
  const output = new ClientOutput(json, client.approvals);
  const wanted = mods.length === 0 ? [...client.reports.keys()] : mods;
  let isRejected = false;
  let failure: VeripyError | undefined;
  let done = 0;
  const showProgress = () => {
    const message = `verified ${done} of ${wanted.length}`;
    if (!json) showStatus((columns) => progressLine({ fraction: done / wanted.length, message }, columns));
  };
  if (wanted.length > 1) showProgress();
  await client
    .verifyAll({
      mods: wanted,
      onOutcome: (outcome) => {
        done += 1;
        if ("error" in outcome) {
          failure ??= outcome.error;
          output.unverified(outcome.mod, outcome.error, hintFor(outcome, client));
        } else {
          const { verdict } = outcome;
          output.verdict(verdict, { full: true });
          if (!verdict.verified || isHeld(client.approvals.judge(verdict))) isRejected = true;
        }
        if (wanted.length > 1) showProgress();
      },
    })
    .catch(() => {});
  endStatus();
  if (isRejected) return exitCodes.notVerified;
  return failure === undefined ? exitCodes.ok : exitCodeFor(failure);
}

/** Whether what was decided keeps a version from running. */
function isHeld({ state }: Approval): boolean {
  return state === "pending" || state === "denied";
}

/** A module that does not exist may be a typing error. */
function hintFor({ mod, error }: { mod: string; error: VeripyError }, client: VeripyClient): string {
  return error.code === "not_found" ? ` ${didYouMean(mod, client.reports.keys())}`.trimEnd() : "";
}
