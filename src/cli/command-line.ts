import type { Command } from "commander";
import { didYouMean, version } from "../index.ts";
import { jsonVariable } from "./config.ts";

/** Gives a program and all its commands `-V`; commander has it for the program alone. */
export function addVersionFlags(command: Command): void {
  command.version(version, "-V, --version", "print the version");
  for (const one of command.commands) addVersionFlags(one);
}

/**
 * Whether errors are to be JSON, told from the arguments as they are: those that commander refuses, it refuses one
 * by one, before it has seen a `--json` further on.
 */
export function asksForJson(program: Command, args: readonly string[]): boolean {
  let command = program;
  for (let index = 0; index < args.length && args[index] !== "--"; index++) {
    const word = args[index] ?? "";
    if (word === "--json") return true;
    if (word.startsWith("-")) {
      if (takesValue(command, word) && args[index + 1] !== "--json") index++;
      continue;
    }
    const named = command.commands.find((one) => one.name() === word);
    // The first operand of 'exec' is the module, and what follows is the module's.
    if (named === undefined && command.name() === "exec") break;
    command = named ?? command;
  }
  try {
    return jsonVariable();
  } catch {
    return false;
  }
}

function takesValue(command: Command, word: string): boolean {
  return [command, command.parent].some((one) =>
    one?.options.some(({ short, long, required }) => required && (short === word || long === word)),
  );
}

/** Whether a command answers in JSON: by its flag, before or behind its name, or by `VERIPY_JSON`. */
export function applyJsonVariable(action: Command): boolean {
  if (action.optsWithGlobals<{ json?: boolean }>().json === true) return true;
  try {
    const wantsJson = jsonVariable();
    if (wantsJson) action.setOptionValueWithSource("json", true, "env");
    return wantsJson;
  } catch (error) {
    return action.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The default command takes no arguments, so the first of them was meant to be the name of a command. */
export function refuseUnknownCommand(program: Command, action: Command, json: boolean): void {
  const [name] = action.args;
  if (name === undefined || action.registeredArguments.length > 0) return;
  const names = [...program.commands.map((one) => one.name()), "help"];
  // Behind a flag of the default command, or behind another command.
  const isMisplaced = names.includes(name);
  const suggestion = isMisplaced ? "" : didYouMean(name, names);
  const problem = isMisplaced
    ? `error: '${name}' is a command and must come first: ${program.name()} ${name} ...`
    : `error: there is no command '${name}'.`;
  if (json) action.error(`${problem} ${suggestion}`.trimEnd());
  const help = `Type '${program.name()} --help' for the list of commands and flags.`;
  action.showHelpAfterError(`${suggestion} ${help}`.trimStart()).error(problem);
}
