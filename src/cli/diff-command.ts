import { type Verdict, type VeripyClient, VeripyError, type VersionDifference } from "../index.ts";
import { withModules } from "./client-connection.ts";
import type { ClientOptions } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { differenceJson, differenceLines, differs, statLines } from "./difference-output.ts";
import { notEnforced, noteNotEnforced } from "./enforcement-note.ts";
import { text } from "./text.ts";
import { exitCodes, note, printAll, printJson } from "./ui.ts";

/** As diff(1) has it. */
const differenceFound = 1;

/** Shows what of the approved versions differs from what the server runs. Resolves with the exit code. */
export async function diff(given: ClientOptions, mods: readonly string[], stat: boolean): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const use = async (client: VeripyClient) => {
    exitCode = await diffOn(client, mods, { json: given.json, stat });
  };
  await withModules(given, mods, use, { ignoresLocked: true });
  return exitCode;
}

/** The same on a connection that is there. Resolves with the exit code. */
export async function diffOn(
  client: VeripyClient,
  mods: readonly string[],
  { json, stat = false }: { json?: boolean | undefined; stat?: boolean } = {},
): Promise<number> {
  const names = mods.length === 0 ? client.approvals.mods : mods.map((mod) => client.approvals.nameOf(mod));
  const why = await notEnforced(client);
  noteNotEnforced(why);
  const verdicts = await verdictsOn(client, [...new Set(names)]);
  let isRejected = false;
  let isDifferent = false;
  for (const [mod, verdict] of verdicts) {
    if (verdict?.verified === false) {
      new ClientOutput(json).verdict(verdict);
      isRejected = true;
      continue;
    }
    const difference = await client.approvals.difference(mod, verdict);
    if (!differs(difference)) continue;
    if (json) printJson(differenceJson(difference, why === undefined, stat));
    else printAll([...(isDifferent ? [text``] : []), ...(stat ? statLines : differenceLines)(difference)]);
    isDifferent = true;
    noteOtherKey(difference);
  }
  if (!isDifferent && !isRejected) note`Nothing differs from what was approved.`;
  return isRejected ? exitCodes.notVerified : isDifferent ? differenceFound : exitCodes.ok;
}

/** Says that there are approvals for the server's address, which can't be taken for approvals of this server. */
export function noteOtherKey({ approval }: VersionDifference): void {
  if (approval.changed.includes("key"))
    note`The lock has approvals for this address under another key of the server, and no rotation has proven the present one.`;
}

/** The verdict on each module; undefined for one that is approved, but that the server no longer has. */
async function verdictsOn(
  client: VeripyClient,
  names: readonly string[],
): Promise<[mod: string, verdict: Verdict | undefined][]> {
  const { reports, approvals } = client;
  for (const name of names)
    if (!reports.has(name) && approvals.approved(name) === undefined) throw unknown(name);
  const verdicts = await client.verifyAll({ mods: names.filter((name) => reports.has(name)) });
  return names.map((name) => [name, verdicts.find(({ mod }) => mod === name)]);
}

function unknown(mod: string): VeripyError {
  return new VeripyError("not_found", `There is no module '${mod}', and none is approved.`);
}
