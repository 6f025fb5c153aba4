import type { Command } from "commander";
import { type CheckedModule, checkModules } from "../index.ts";
import { addLimitFlags, limitsFrom, loadLimits } from "./limit-flags.ts";
import { detailsJson, detailsText } from "./module-details.ts";
import { options } from "./options.ts";
import type { StartOptions } from "./server-start.ts";
import { indented, styled } from "./text.ts";
import { exitCodes, note, print, printAll, printJson } from "./ui.ts";

/** Adds `veripy-server check`. */
export function addCheckCommand(program: Command, setExitCode: (code: number) => void): void {
  addLimitFlags(program.command("check"), loadLimits)
    .description(
      "load modules as the server would; print what is wrong with them, or what they are and declare",
    )
    .argument("[mod...]", "names or file paths (default: all modules)")
    .addOption(options.mods)
    .addOption(options.sandbox)
    .addOption(options.json)
    .action(async (mods: string[], given: StartOptions) => {
      setExitCode(await check(mods, given));
    });
}

async function check(mods: string[], given: StartOptions): Promise<number> {
  const checked = await checkModules({
    modsDir: given.mods,
    mods,
    limits: limitsFrom(given),
    hosts: { sandbox: given.sandbox },
  });
  for (const one of checked) {
    if (given.json) printJson(checkedJson(one));
    else printChecked(one);
  }
  if (checked.length === 0) note`There are no modules in ${given.mods}.`;
  return checked.every(({ ok }) => ok) ? exitCodes.ok : exitCodes.moduleFailed;
}

function checkedJson(checked: CheckedModule): object {
  if (!checked.ok) return checked;
  const { mod, ...details } = detailsJson(checked) as { mod: string };
  return { mod, ok: true, ...details, warnings: checked.warnings };
}

function printChecked(checked: CheckedModule): void {
  if (!checked.ok) {
    print`${styled("red", "FAILED")}  ${indented(checked.problem)}`;
    return;
  }
  print`${styled("green", "ok")}      ${`${checked.mod}  ${checked.description ?? ""}`.trimEnd()}`;
  printAll(detailsText(checked));
  for (const warning of checked.warnings) print`  ${styled("yellow", "warning")}: ${warning}`;
}
