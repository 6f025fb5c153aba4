import { Argument, type Command } from "commander";
import { printData } from "../ui.ts";
import { completionScript, type Shell, shells } from "./shells.ts";

/** Adds `completion` to a program. */
export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .description("print a script with which a shell completes this command")
    .addArgument(new Argument("<shell>").choices(shells))
    .addHelpText("after", "\nThe script's first lines say how to load it.")
    .action((shell: Shell) => printData(completionScript(shell, program.name())));
}
