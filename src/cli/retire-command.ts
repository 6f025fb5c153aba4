import type { Command } from "commander";
import { retireVersions } from "../index.ts";
import { options } from "./options.ts";
import { print, printJson } from "./ui.ts";

/** Adds `retire`, which ends earlier versions of a module. */
export function addRetireCommand(program: Command): void {
  program
    .command("retire")
    .description("end the earlier versions of a module that the server in this folder keeps")
    .argument("<mod[@tree]>", "all of them, or the one whose tree begins with these 8 or more digits")
    .addOption(options.certs)
    .addOption(options.json)
    .addHelpText("after", "\nCalls in flight may end. The current version stays.")
    .action(retire);
}

async function retire(what: string, given: { certs: string; json?: boolean }): Promise<void> {
  const at = what.lastIndexOf("@");
  const { mod, trees } =
    at === -1
      ? await retireVersions(given.certs, what)
      : await retireVersions(given.certs, what.slice(0, at), what.slice(at + 1));
  if (given.json) {
    printJson({ mod, trees });
    return;
  }
  if (trees.length === 0) print`${mod} has no earlier versions.`;
  for (const tree of trees) print`Retired ${mod}@${tree}.`;
}
