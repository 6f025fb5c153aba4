import type { Command } from "commander";
import { type ApproveFlags, approve } from "./approve-command.ts";
import { isGiven, optionsOf } from "./client-options.ts";
import { deny, printLog, unapprove } from "./decision-commands.ts";
import { diff } from "./diff-command.ts";
import { eachParsed, moduleName, noteText, parsed, tree, treePrefix } from "./flag-values.ts";
import { show } from "./show-command.ts";

/** Adds the commands that show modules and decide about them. The last two need no connection. */
export function addApprovalCommands(
  connectingCommand: (name: string, description: string) => Command,
  setExitCode: (code: number) => void,
): void {
  const shortName = "'hello' is short for 'hello.ts'";
  connectingCommand("show", "print what a module is and may touch, and its verified source")
    .argument("<mod>", shortName, parsed(moduleName))
    .option(
      "--tree <hash>",
      "an earlier version, from this client's store; 8 digits are enough",
      parsed(treePrefix),
    )
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

  connectingCommand("unapprove", "remove the approvals of modules, without a connection")
    .argument("<mod...>", shortName, eachParsed(moduleName))
    .action(async (mods: string[], _, self: Command) => unapprove(await optionsOf(self), mods));

  connectingCommand(
    "log",
    "print what was seen, approved and denied, when, and by whom, without a connection",
  )
    .argument("[mod]", shortName, parsed(moduleName))
    .addHelpText("after", "\nWithout --host and --port, that of all servers is printed.")
    .action(async (mod: string | undefined, _, self: Command) => {
      const given = await optionsOf(self);
      await printLog(given, mod, { oneServer: isGiven(self, "host", "port") });
    });
}
