import type { Command } from "commander";
import type { VeripyClient } from "../index.ts";
import { withArgumentTable } from "./argument-table.ts";
import { withModules } from "./client-connection.ts";
import { type ClientOptions, optionsOf } from "./client-options.ts";
import { type ExecFlags, execOnHosts } from "./exec-hosts.ts";
import { ExecOutput } from "./exec-output.ts";
import { moduleName, parsed } from "./flag-values.ts";
import { collectHosts } from "./host-list.ts";
import { callModule } from "./module-call.ts";
import { options } from "./options.ts";
import { readArguments } from "./read-text.ts";
import { signedText } from "./signature-text.ts";
import { note, silenceNotes } from "./ui.ts";

const help = `
If the module's schema describes an object, its arguments are NAME=VALUE, where VALUE is what the schema says, NAME:=JSON, and
for an array one NAME=VALUE for each element; 'describe <mod>' prints them. One argument that begins with { is the whole JSON.
Otherwise the arguments are joined by spaces.

With several hosts, the module is verified on all of them first. Nothing is called if one cannot be reached (exit code 3) or
they run different versions (exit code 4), unless you add --mixed. Each line of output begins with its host. The exit code is
that of the worst host; from worst to best: 4, 3, 2, 5, 1, 0.`;

/** Adds the flags and arguments of `exec` to a command that has those of a connection. */
export function addExecCommand(command: Command, setExitCode: (code: number) => void): void {
  const hosts = collectHosts(command);
  command
    .argument("<mod>", "'hello' is short for 'hello.ts'", parsed(moduleName))
    .argument("[args...]", "see below; everything after <mod> goes to the module, flags too")
    .option("--hosts <file>", "run it on each host that the file lists, one a line; - is standard input")
    .option(
      "--mixed",
      "with several hosts: call those that can be called, each with the version that it runs",
    )
    .option("--stdin", "read the arguments from standard input, unchanged")
    .option("--raw", "print the result exactly as received: with control characters, and no newline added")
    .option("-o, --output <file>", "write the result to a file, exactly as received; - is standard output")
    .option("-q, --quiet", "print the result and errors only: no progress, notes or warnings")
    .option(
      "--no-repeat",
      "fail at once if the server is busy, stopping or gone before the module has started",
    )
    .addOption(options.timeout)
    .addHelpText("after", help)
    .passThroughOptions()
    .action(async (mod: string, words: string[], own: ExecFlags, self: Command) => {
      if (own.quiet) silenceNotes();
      const list = await hosts(own);
      if (list !== undefined) setExitCode(await execOnHosts(list, self, own, mod, words));
      else await exec(await optionsOf(self), own, mod, words);
    });
}

async function exec(given: ClientOptions, own: ExecFlags, mod: string, words: string[]): Promise<void> {
  const args = own.stdin ? await readArguments() : words;
  const output = await ExecOutput.open({
    json: given.json,
    raw: own.raw,
    output: own.output,
    quiet: own.quiet,
  });
  try {
    const call = async (client: VeripyClient) => {
      const { mod: name, signed } = await callModule(client, mod, args, output, {
        timeoutMs: given.timeout,
        repeat: own.repeat,
      });
      if (signed !== undefined && !given.json) note`${name}: ${signedText(signed)}`;
    };
    // A call that was never sent can use another connection. One that may have started is not repeated.
    await withModules(given, [mod], call, { reconnect: own.repeat });
  } catch (error) {
    throw given.json ? error : withArgumentTable(error);
  } finally {
    output.close();
  }
}
