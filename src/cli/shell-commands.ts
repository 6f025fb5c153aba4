import { type VeripyClient, VeripyError } from "../index.ts";
import type { ClientOptions } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { diffOn } from "./diff-command.ts";
import { moduleName } from "./flag-values.ts";
import { printStats } from "./module-stats.ts";
import type { ShellHistory } from "./shell-history.ts";
import { showOn } from "./show-command.ts";
import { table } from "./table.ts";
import { lines } from "./text.ts";
import { exitCodes, print, printAll, printData } from "./ui.ts";
import { verifyModules } from "./verify-command.ts";

/** What the commands of a shell work with. */
export interface ShellContext {
  readonly client: VeripyClient;
  readonly given: ClientOptions;
  readonly history: ShellHistory;
}

export interface ShellCommand {
  /** After the name, as the help shows it. */
  readonly operands: string;
  readonly maxOperands: number;
  /** Whether at least one is needed. */
  readonly isOperandNeeded?: boolean;
  readonly takesModules?: boolean;
  readonly about: string;
  /** Resolves with the exit code; with undefined, the shell ends. */
  run(context: ShellContext, operands: string[]): Promise<number | undefined>;
}

/** The commands of `veripy-client shell`, by name. Every other name is that of a module. */
export const shellCommands: ReadonlyMap<string, ShellCommand> = new Map<string, ShellCommand>([
  [
    "help",
    {
      operands: "[COMMAND]",
      maxOperands: 1,
      about: "print this list, or what a command does",
      run: async (_, [name]) => help(name),
    },
  ],
  [
    "list",
    {
      operands: "",
      maxOperands: 0,
      about: "list the modules without verifying them",
      run: async ({ client, given }) => {
        new ClientOutput(given.json).list([...client.reports.values()], client.approvals);
        return exitCodes.ok;
      },
    },
  ],
  [
    "verify",
    {
      operands: "[MODULE…]",
      maxOperands: Number.POSITIVE_INFINITY,
      takesModules: true,
      about: "fetch and verify the named modules, or all modules",
      run: ({ client, given }, mods) => verifyModules(client, mods, given.json ?? false),
    },
  ],
  [
    "describe",
    {
      operands: "MODULE",
      maxOperands: 1,
      isOperandNeeded: true,
      takesModules: true,
      about: "print what a module is, what it takes and what it may touch",
      run: async ({ client, given }, [mod = ""]) => {
        const verdict = await client.verify(mod);
        new ClientOutput(given.json, client.approvals).details(verdict);
        return verdict.verified ? exitCodes.ok : exitCodes.notVerified;
      },
    },
  ],
  [
    "show",
    {
      operands: "MODULE",
      maxOperands: 1,
      isOperandNeeded: true,
      takesModules: true,
      about: "print a module's verified source",
      run: ({ client, given }, [mod = ""]) => showOn(client, mod, given),
    },
  ],
  [
    "diff",
    {
      operands: "[MODULE…]",
      maxOperands: Number.POSITIVE_INFINITY,
      takesModules: true,
      about: "show what differs from what was approved",
      run: ({ client, given }, mods) => diffOn(client, mods, given),
    },
  ],
  [
    "modules",
    {
      operands: "",
      maxOperands: 0,
      about: "show each module's process, memory, calls and run times",
      run: async ({ client, given }) => {
        printStats(await client.processes(), client.approvals, given.json);
        return exitCodes.ok;
      },
    },
  ],
  [
    "history",
    {
      operands: "",
      maxOperands: 0,
      about: "print the lines that were typed; one that begins with a space is not kept",
      run: async ({ history }) => {
        const typed = await history.read();
        if (typed.length > 0) printData(typed.join("\n"));
        return exitCodes.ok;
      },
    },
  ],
  [
    "exit",
    {
      operands: "",
      maxOperands: 0,
      about: "leave the shell, as Ctrl-D does",
      run: async () => undefined,
    },
  ],
]);

/** Commands that ask questions of their own, or write what a person decided. */
export const commandsOutside: readonly string[] = ["approve", "deny", "unapprove", "log"];

/** Throws `bad_config` for operands that a command does not take. */
export function checkOperands(name: string, command: ShellCommand, operands: readonly string[]): void {
  const usage = `Usage: ${usageOf(name, command)}`;
  if (operands.length > command.maxOperands)
    throw new VeripyError("bad_config", `'${name}' takes no '${operands[command.maxOperands]}'. ${usage}`);
  if (command.isOperandNeeded && operands.length === 0)
    throw new VeripyError("bad_config", `'${name}' needs the name of a module. ${usage}`);
  if (!command.takesModules) return;
  for (const mod of operands) {
    const { error } = moduleName.safeParse(mod);
    if (error) throw new VeripyError("bad_config", `'${mod}' names no module: ${error.issues[0]?.message}`);
  }
}

function usageOf(name: string, { operands }: ShellCommand): string {
  return `${name} ${operands}`.trimEnd();
}

const page = `
Any other line calls a module: its name, and then what it takes, such as NAME=VALUE (see 'describe'). Words that contain
spaces are quoted as in a POSIX shell: 'a b', "a b" or a\\ b. A module whose name is that of a command is called by its full
name, such as list.ts. What follows a # is a comment.

Tab completes commands, modules and their arguments. Ctrl-C cancels a running call.`;

function help(name: string | undefined): number {
  if (name === undefined) {
    printAll(table([...shellCommands].map(([own, command]) => [usageOf(own, command), command.about])));
    print`${lines(page)}`;
    return exitCodes.ok;
  }
  const command = shellCommands.get(name);
  if (command === undefined)
    throw new VeripyError("bad_config", `There is no command '${name}'. 'help' lists them.`);
  print`${usageOf(name, command)}\n  ${command.about}`;
  return exitCodes.ok;
}
