import type { Command } from "commander";
import { type ApproveFlags, approve } from "./approve-command.ts";
import { optionsOf } from "./client-options.ts";
import { deny, printLog, unapprove } from "./decision-commands.ts";
import { diff } from "./diff-command.ts";
import { eachParsed, moduleName, noteText, parsed, tree, treePrefix } from "./flag-values.ts";
import { options } from "./options.ts";
import { show } from "./show-command.ts";

type AddCommand = (name: string, description: string) => Command;

/** Adds the commands that show modules and decide about them. The last two do without a connection. */
export function addApprovalCommands(
  connectingCommand: AddCommand,
  command: AddCommand,
  setExitCode: (code: number) => void,
): void {
  const shortName = "'hello' is short for 'hello.ts'";
  connectingCommand("show", "print what a module is and may touch, and its verified source")
    .argument("<mod>", shortName, parsed(moduleName))
    .option("--tree <hash>", "an earlier version, from this client's store; 8 digits are enough", parsed(treePrefix))
    .action(async (mod: string, own: { tree?: string }, self: Command) =>
      setExitCode(await show(await optionsOf(self), mod, own.tree)),
    );

  connectingCommand("diff", "print how the modules differ from what was approved; exit code 1 if any does")
    .argument("[mod...]", shortName, eachParsed(moduleName))
    .option("--stat", "only name the files, with the numbers of lines")
    .action(async (mods: string[], own: { stat?: boolean }, self: Command) =>
      setExitCode(await diff(await optionsOf(self), mods, own.stat ?? false)),
    );

  connectingCommand("approve", "show what is new in modules, ask, and keep a yes in veripy.lock")
    .argument("[mod...]", `${shortName}; without names, all that are not approved`, eachParsed(moduleName))
    .option("--yes", "do not ask; needs --tree")
    .option("--tree <hash>", "approve exactly this tree of one module, or nothing", parsed(tree))
    .option("--note <text>", "keep this with the approval", parsed(noteText))
    .action(async (mods: string[], own: ApproveFlags, self: Command) =>
      setExitCode(await approve(await optionsOf(self), mods, own)),
    );

  connectingCommand("deny", "keep a version from running, and remove the module's approval")
    .argument("<mod>", shortName, parsed(moduleName))
    .option("--tree <hash>", "this version, instead of the current one", parsed(tree))
    .option("--note <text>", "keep this with the denial", parsed(noteText))
    .action(async (mod: string, own: { tree?: string; note?: string }, self: Command) =>
      deny(await optionsOf(self), mod, own),
    );

  command("unapprove", "remove the approvals of modules, also when their server is gone")
    .argument("<mod...>", shortName, eachParsed(moduleName))
    .addOption(options.host)
    .addOption(options.port)
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.lock)
    .addOption(options.json)
    .action(async (mods: string[], _, self: Command) => unapprove(await optionsOf(self), mods));

  command("log", "print what this client has seen, approved and denied, when, and by whom")
    .argument("[mod]", shortName, parsed(moduleName))
    .addOption(options.home)
    .addOption(options.json)
    .action(async (mod: string | undefined, _, self: Command) => printLog(await optionsOf(self), mod));
}
