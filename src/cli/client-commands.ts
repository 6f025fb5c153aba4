import type { Command } from "commander";
import { addApprovalCommands } from "./approval-commands.ts";
import { addConfigCommand } from "./client-config-command.ts";
import { watch, withClient, withModules } from "./client-connection.ts";
import { addClientDoctorCommand } from "./client-doctor-command.ts";
import { addKeyCommands } from "./client-key-commands.ts";
import { clientNames } from "./client-names.ts";
import { addConnectionFlags, optionsOf } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { addPinCommands } from "./client-pin-commands.ts";
import { runProgram } from "./command-line.ts";
import { addCompletionCommand } from "./completion/completion-command.ts";
import { addExecCommand } from "./exec-command.ts";
import { eachParsed, moduleName, parsed } from "./flag-values.ts";
import { addListCommand } from "./list-command.ts";
import { printStats } from "./module-stats.ts";
import { addShellCommand } from "./shell-command.ts";
import { noteCatalogue } from "./signature-text.ts";
import { addTopCommand } from "./top-command.ts";
import { exitCodes } from "./ui.ts";
import { verifyModules } from "./verify-command.ts";

const help = `
The home is --home, or VERIPY_HOME, or this folder if it has certs/client.key, or else ~/.config/veripy. Keys are in certs
there, unless --certs names another folder.

Which server is accepted: the key of server.crt in the --certs folder, if there is one; else the key that
known-servers.json in that folder gives for this host and port; else --server-fingerprint; else, on a terminal, you are
asked. Otherwise the connection is refused. The key from --server-fingerprint is saved only if you say yes, or with
--remember.

Exit codes: 0 success; 1 the module failed, its call could not be carried out, or the output could not be written;
2 wrong usage, configuration or key files, no such module, or arguments that do not fit; 3 cannot connect, or refused by
either side; 4 verification failed, not approved, or not signed; 5 timed out; 130 interrupted by SIGINT (Ctrl-C), 143 by
SIGTERM. diff: 1 for a difference.`;

/** Runs `veripy-client` with the given arguments and resolves with its exit code. */
export function runClientCommand(args: readonly string[]): Promise<number> {
  const description = "Lists, verifies and runs the modules of a VeriPy server.";
  return runProgram({ name: "veripy-client", description, help, addCommands, completion: clientNames }, args);
}

function addCommands(program: Command, setExitCode: (code: number) => void): void {
  addConnectionFlags(program).enablePositionalOptions();
  const command = (name: string, description: string) => program.command(name).description(description);
  const connectingCommand = (name: string, description: string) =>
    addConnectionFlags(command(name, description));

  addConnectionFlags(program.command("watch", { isDefault: true }))
    .allowExcessArguments()
    .description("verify all modules, then keep running and show every change (the default)")
    .action(async (_, self: Command) => watch(await optionsOf(self)));

  addListCommand(
    connectingCommand("list", "list the modules; without --signers, nothing is verified"),
    setExitCode,
  );

  connectingCommand("verify", "fetch and verify the named modules, or all modules")
    .argument("[mod...]", "'hello' is short for 'hello.ts'", eachParsed(moduleName))
    .action(async (mods: string[], _, self: Command) => {
      const given = await optionsOf(self);
      return withModules(given, mods, async (client) => {
        setExitCode(await verifyModules(client, mods, given.json ?? false));
      });
    });

  connectingCommand("describe", "verify a module, and print what it is, what it takes and what it may touch")
    .argument("<mod>", "'hello' is short for 'hello.ts'", parsed(moduleName))
    .action(async (mod: string, _, self: Command) => {
      const given = await optionsOf(self);
      return withModules(given, [mod], async (client) => {
        const verdict = await client.verify(mod);
        new ClientOutput(given.json, client.approvals).details(verdict);
        if (!verdict.verified) setExitCode(exitCodes.notVerified);
      });
    });

  addExecCommand(
    connectingCommand("exec", "verify a module, run exactly that version, and print its result"),
    setExitCode,
  );

  connectingCommand("modules", "show each module's process, memory, calls and run times").action(
    async (_, self: Command) => {
      const given = await optionsOf(self);
      return withClient(given, async (client) => {
        printStats(await client.processes(), client.approvals, given.json);
        noteCatalogue(client, given.json);
      });
    },
  );

  addShellCommand(connectingCommand, setExitCode);
  addTopCommand(connectingCommand);
  addApprovalCommands(connectingCommand, setExitCode);
  addKeyCommands(command, setExitCode);
  addPinCommands(command);
  addConfigCommand(command);
  addClientDoctorCommand(connectingCommand, setExitCode);
  addCompletionCommand(program);
}
