import {
  type Approval,
  readStoredVersion,
  type StoredVersion,
  type VerifiedModule,
  type VeripyClient,
  VeripyError,
} from "../index.ts";
import { approvalJson, approvalText } from "./approval-text.ts";
import { withModules } from "./client-connection.ts";
import type { ClientOptions } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { notEnforced, noteNotEnforced } from "./enforcement-note.ts";
import { detailsJson, detailsText } from "./module-details.ts";
import { sourceLine, styled, type Text, text } from "./text.ts";
import { exitCodes, outputIsTerminal, printAll, printJson, printPart } from "./ui.ts";

/** Shows a module: what it may touch and what it is, and then its source. Resolves with the exit code. */
export async function show(given: ClientOptions, mod: string, tree: string | undefined): Promise<number> {
  if (tree === undefined) return showCurrent(given, mod);
  const stored = await readStoredVersion(given.home, mod, tree);
  if (stored === undefined) return showCurrent(given, mod, tree);
  print(stored, undefined, given.json);
  return exitCodes.ok;
}

/** Shows the version that the server runs. With a tree, only if it has that. */
async function showCurrent(given: ClientOptions, mod: string, tree?: string): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const use = async (client: VeripyClient) => {
    exitCode = await showOn(client, mod, { json: given.json, tree });
  };
  await withModules(given, [mod], use, { ignoresLocked: true });
  return exitCode;
}

/** The same on a connection that is there. Resolves with the exit code. */
export async function showOn(
  client: VeripyClient,
  mod: string,
  { json, tree }: { json?: boolean | undefined; tree?: string | undefined } = {},
): Promise<number> {
  const verdict = await client.verify(mod);
  if (!verdict.verified) {
    new ClientOutput(json).verdict(verdict);
    return exitCodes.notVerified;
  }
  if (tree !== undefined && !verdict.tree.startsWith(tree)) throw unknownTree(verdict, tree);
  const open = await notEnforced(client);
  noteNotEnforced(open);
  print(verdict, { approval: client.approvals.judge(verdict), isEnforced: open === undefined }, json);
  return exitCodes.ok;
}

function unknownTree({ mod, tree: current }: VerifiedModule, tree: string): VeripyError {
  return new VeripyError(
    "not_approved",
    `Cannot show the version ${tree} of ${mod}: it is not in the store of this client, and the server runs ${current}.`,
  );
}

interface Decided {
  readonly approval: Approval;
  readonly isEnforced: boolean;
}

function print(version: StoredVersion | VerifiedModule, decided: Decided | undefined, json = false): void {
  if (json) {
    printJson({
      ...detailsJson(version),
      ...(decided && { ...approvalJson(decided.approval), permissionsEnforced: decided.isEnforced }),
      files: version.files.map(({ path, sum, content }) => ({ path, sum, content })),
    });
    return;
  }
  printVersion(version, decided?.approval);
}

/** A manifest and the source below it: with line numbers on a terminal, and its exact bytes in a pipe or a file. */
export function printVersion(version: StoredVersion | VerifiedModule, approval?: Approval): void {
  const { mod, description } = version;
  const state = approval === undefined ? text`` : text`  ${approvalText(approval)}`;
  const about = description === undefined ? text`` : text`  ${description}`;
  printAll([text`${styled("bold", mod)}${state}${about}`, ...detailsText(version)]);
  for (const { path, content } of version.files) {
    printAll([text``, text`${styled("bold", `==> ${path} <==`)}`]);
    if (outputIsTerminal()) printAll(numbered(content));
    else printPart(content);
  }
}

function numbered(content: string): Text[] {
  const lines = content.replace(/\n$/, "").split("\n");
  const width = String(lines.length).length;
  return lines.map((line, index) => {
    const number = styled("gray", String(index + 1).padStart(Math.max(4, width)));
    return text`${number}  ${sourceLine(line)}`;
  });
}
