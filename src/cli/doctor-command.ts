import type { Command } from "commander";
import { sandboxSupport } from "../index.ts";
import { options } from "./options.ts";
import { styled } from "./text.ts";
import { print, printJson } from "./ui.ts";

/** `veripy-server doctor`: what of the sandbox this system enforces. */
export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("print which permissions of modules this system enforces")
    .addOption(options.json)
    .action(({ json }: { json?: boolean }) => {
      if (json) printJson(sandboxSupport());
      else printSupport();
    });
}

function printSupport(): void {
  const { platform, kernel, abi, seccomp, enforced } = sandboxSupport();
  const yes = (word: string) => styled("green", word);
  const no = (word: string) => styled("red", word);
  print`system    ${platform} ${kernel}`;
  print`Landlock  ${abi > 0 ? yes(`ABI ${abi}`) : no("none")}`;
  print`seccomp   ${seccomp ? yes("yes") : no("no")}`;
  for (const [kind, isEnforced] of Object.entries(enforced))
    print`${kind.padEnd(8)}  ${isEnforced ? yes("enforced") : no("not enforced")}`;
}
