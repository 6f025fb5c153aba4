import { Command } from "commander";
import { didYouMean, version } from "../index.ts";
import { answerCompletion, completeWord } from "./completion/answer.ts";
import type { CompletionSources } from "./completion/completer.ts";
import { jsonVariable } from "./environment.ts";
import { commanderOutput, exitCodes, reportFailure, reportUncaught } from "./ui.ts";

export interface ProgramSpec {
  readonly name: string;
  readonly description: string;
  /** Stands at the end of the help page. */
  readonly help: string;
  /** `setExitCode` is for a command that did its work and has bad news, such as a module that did not verify. */
  addCommands(program: Command, setExitCode: (code: number) => void): void;
  readonly completion: CompletionSources;
}

/** Runs a program with the given arguments and resolves with its exit code. Errors have been reported by then. */
export async function runProgram(spec: ProgramSpec, args: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.ok;
  let wantsJson = false;
  reportUncaught(() => wantsJson);
  const program = new Command(spec.name)
    .description(spec.description)
    .helpOption("-h, --help", "print this page")
    .exitOverride()
    .configureOutput(commanderOutput(() => wantsJson))
    .showHelpAfterError(helpHint(spec.name))
    .addHelpText("after", spec.help)
    .hook("preAction", (_, action) => {
      wantsJson = applyJsonVariable(action);
      refuseUnknownCommand(program, action, wantsJson);
    });
  spec.addCommands(program, (code) => {
    exitCode = code;
  });
  addVersionFlags(program);
  wantsJson = asksForJson(program, args);
  try {
    if (args[0] === completeWord) {
      await answerCompletion(program, args.slice(1), spec.completion);
      return exitCode;
    }
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    return reportFailure(error, wantsJson);
  }
  return exitCode;
}

function helpHint(program: string): string {
  return `Type '${program} --help' for the list of commands and flags.`;
}

/** Adds `-V` to a program and all its commands; commander adds it to the program only. */
function addVersionFlags(command: Command): void {
  command.version(version, "-V, --version", "print the version");
  for (const one of command.commands) addVersionFlags(one);
}

/**
 * Whether the arguments ask for JSON. Commander cannot tell: it may refuse an argument before it comes to `--json`, and
 * that error must be JSON too.
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
    // The first operand of 'exec' is the module's name, and everything after it goes to the module.
    if (named === undefined && command.name() === "exec") break;
    command = named ?? command;
  }
  try {
    return jsonVariable() ?? false;
  } catch {
    return false;
  }
}

function takesValue(command: Command, word: string): boolean {
  return [command, command.parent].some((one) =>
    one?.options.some(({ short, long, required }) => required && (short === word || long === word)),
  );
}

/** Whether a command answers in JSON, because of its flag (before or after its name) or of `VERIPY_JSON`. */
function applyJsonVariable(action: Command): boolean {
  if (action.optsWithGlobals<{ json?: boolean }>().json === true) return true;
  try {
    const wantsJson = jsonVariable();
    if (wantsJson !== undefined) action.setOptionValueWithSource("json", wantsJson, "env");
    return wantsJson ?? false;
  } catch (error) {
    return action.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The default command takes no arguments, so an argument was meant to be the name of a command. */
function refuseUnknownCommand(program: Command, action: Command, json: boolean): void {
  const [name] = action.args;
  if (name === undefined || action.registeredArguments.length > 0) return;
  const names = [...program.commands.map((one) => one.name()), "help"];
  // A command's name after a flag of the default command, or after another command.
  const isMisplaced = names.includes(name);
  const suggestion = isMisplaced ? "" : didYouMean(name, names);
  const problem = isMisplaced
    ? `error: '${name}' is a command and must come first: ${program.name()} ${name} ...`
    : `error: there is no command '${name}'.`;
  if (json) action.error(`${problem} ${suggestion}`.trimEnd());
  const help = helpHint(program.name());
  action.showHelpAfterError(`${suggestion} ${help}`.trimStart()).error(problem);
}
