import type { Command } from "commander";
import { type VerifyOutcome, type VeripyClient, VeripyError } from "../index.ts";
import { withClient } from "./client-connection.ts";
import { optionsOf } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { exitCodeFor, exitCodes } from "./ui.ts";

/** Adds the action of `list`, which verifies nothing; unless there are signers: then each line says who signed the module. */
export function addListCommand(command: Command, setExitCode: (code: number) => void): void {
  command.action(async (_, self: Command) => {
    const given = await optionsOf(self);
    return withClient(given, async (client) => {
      const outcomes = await signatures(client);
      const output = new ClientOutput(given.json);
      output.list([...client.reports.values()], client.approvals, outcomes);
      if (outcomes !== undefined) setExitCode(exitCodeOf([...outcomes.values()]));
    });
  });
}

/** The outcome for each module, by its name. A report does not have all the sums that a catalogue lists. */
async function signatures(client: VeripyClient): Promise<ReadonlyMap<string, VerifyOutcome> | undefined> {
  if (!client.catalogue.isRequired) return undefined;
  const outcomes = new Map<string, VerifyOutcome>();
  await client
    .verifyAll({ onOutcome: (outcome) => void outcomes.set(outcome.mod, outcome) })
    .catch((error) => {
      // Each error is an outcome already.
      if (!(error instanceof VeripyError)) throw error;
    });
  return outcomes;
}

function exitCodeOf(outcomes: readonly VerifyOutcome[]): number {
  if (outcomes.some((one) => "verdict" in one && !one.verdict.verified)) return exitCodes.notVerified;
  const failed = outcomes.find((one) => "error" in one);
  return failed === undefined ? exitCodes.ok : exitCodeFor(failed.error);
}
