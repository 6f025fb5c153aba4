import type { Command } from "commander";
import { type CatalogueState, catalogueState, readAllowedSigners } from "../index.ts";
import { options } from "./options.ts";
import { styled } from "./text.ts";
import { exitCodes, print, printJson } from "./ui.ts";

interface CatalogueFlags {
  catalogue: string;
  signers?: string;
  signer?: string;
  mods: string;
  trustedKeys: string;
  json?: boolean;
}

/** Adds `catalogue`, which shows the catalogue in this folder and what differs from it. */
export function addCatalogueCommand(program: Command, setExitCode: (code: number) => void): void {
  program
    .command("catalogue")
    .description("show the catalogue's signer, serial and age, and what differs from it in the folder now")
    .addOption(options.catalogue)
    .addOption(options.catalogueSigners)
    .addOption(options.catalogueSigner)
    .addOption(options.mods)
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .addHelpText(
      "after",
      "\nExit code 1: a server would not accept it now. Files that differ do not change the exit code.",
    )
    .action(async (given: CatalogueFlags) => {
      setExitCode(await show(given));
    });
}

async function show(given: CatalogueFlags): Promise<number> {
  const state = await catalogueState({
    cataloguePath: given.catalogue,
    modsDir: given.mods,
    trustedKeysPath: given.trustedKeys,
    signers: given.signers === undefined ? undefined : await readAllowedSigners(given.signers),
    signer: given.signer,
  });
  if (given.json) printJson(stateJson(state));
  else printState(state, given.signers !== undefined);
  return state.problem === undefined ? exitCodes.ok : exitCodes.moduleFailed;
}

function stateJson({ catalogue, principal, problem, differences, unlisted }: CatalogueState): object {
  const { name, serial, issued, expires, servers, files } = catalogue;
  const age = ageSeconds(issued);
  return {
    name,
    serial,
    issued,
    age_seconds: age,
    expires,
    servers,
    files: files.size,
    principal,
    problem,
    differences,
    unlisted,
  };
}

function printState(
  { catalogue, principal, problem, differences, unlisted }: CatalogueState,
  isChecked: boolean,
) {
  const { name, serial, issued, expires, servers, files } = catalogue;
  print`${name}, serial ${serial}`;
  if (problem !== undefined) print`${styled("red", "FAILED")}  ${problem}`;
  else if (principal !== undefined) print`signed by ${principal}`;
  else if (!isChecked) print`signature not checked; name the allowed signers with --signers FILE`;
  print`issued  ${issued}, ${ageText(ageSeconds(issued))} ago`;
  if (expires !== undefined) print`expires ${expires}`;
  for (const { fingerprint, address } of servers) print`server  ${fingerprint} ${address}`;
  print`files   ${files.size}`;
  if (unlisted !== undefined) print`${styled("yellow", "warning")}: ${unlisted}`;
  if (differences.length === 0 && unlisted === undefined) print`The folder is as the catalogue lists it.`;
  for (const { path, kind } of differences) print`${kind.padEnd(8)}  ${path}`;
}

function ageSeconds(issued: string): number {
  return Math.max(0, Math.round((Date.now() - Date.parse(issued)) / 1_000));
}

/** `42 s`, `5 min`, `3 h`, `12 d`. */
function ageText(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} d`;
}
