import type { Command } from "commander";
import { withClient } from "./client-connection.ts";
import { optionsOf } from "./client-options.ts";
import { options } from "./options.ts";
import { shell } from "./shell.ts";

const help = `
'help' in the shell lists its commands. The lock acts as for 'exec'. If the input is not a terminal, it is a script: one
command or call a line, # before a comment. It stops at the first line that fails, with the exit code of that line.`;

/** Adds `veripy-client shell`. */
export function addShellCommand(
  connectingCommand: (name: string, description: string) => Command,
  setExitCode: (code: number) => void,
): void {
  connectingCommand("shell", "type calls and commands on one connection, with completion and history")
    .addOption(options.timeout)
    .addHelpText("after", help)
    .action(async (_, self: Command) => {
      const given = await optionsOf(self);
      await withClient(given, async (client) => setExitCode(await shell(client, given)), { reconnect: true });
    });
}
