import { createInterface } from "node:readline/promises";
import { CommanderError, type OutputConfiguration } from "commander";
import { type ErrorCode, messageOf, printable, snakeKeys, VeripyError } from "../index.ts";
import { terminalIsDumb } from "./environment.ts";
import { StatusLine } from "./status-line.ts";
import { indented, lines, styled, type Text, text, type Value } from "./text.ts";
import { WriteFailure } from "./write-failure.ts";

// All output goes through this file: nothing else in `cli/` writes to a standard stream, and everything written here is
// escaped (see `text.ts`). test/architecture.test.ts enforces the first; the types of `print` and `note` the second.

/** The exit codes of both commands, as `--help` and docs/operating.md list them. */
export const exitCodes = {
  ok: 0,
  moduleFailed: 1,
  usage: 2,
  notConnected: 3,
  notVerified: 4,
  timedOut: 5,
} as const;

const exitCodeOf: Record<ErrorCode, number> = {
  bad_request: exitCodes.moduleFailed,
  not_found: exitCodes.usage,
  exec_failed: exitCodes.moduleFailed,
  module_crashed: exitCodes.moduleFailed,
  too_large: exitCodes.moduleFailed,
  busy: exitCodes.moduleFailed,
  cancelled: exitCodes.moduleFailed,
  bad_module: exitCodes.moduleFailed,
  bad_config: exitCodes.usage,
  bad_arguments: exitCodes.usage,
  bad_identity: exitCodes.usage,
  forbidden: exitCodes.notConnected,
  shutting_down: exitCodes.notConnected,
  unreachable: exitCodes.notConnected,
  untrusted: exitCodes.notConnected,
  unsupported: exitCodes.notConnected,
  protocol_error: exitCodes.notConnected,
  closed: exitCodes.notConnected,
  version_mismatch: exitCodes.notVerified,
  verification_failed: exitCodes.notVerified,
  not_approved: exitCodes.notVerified,
  not_signed: exitCodes.notVerified,
  timeout: exitCodes.timedOut,
};

/** Prints a line on standard output. Scripts read it, so it is for answers only. */
export function print(strings: TemplateStringsArray, ...values: Value[]): void {
  printAll([text(strings, ...values)]);
}

/** Prints several lines in one write. */
export function printAll(lines: readonly Text[]): void {
  writeOutput(lines.map((line) => `${line.renderFor(standardOutput())}\n`).join(""));
}

/** Prints a JSON object, with its fields in snake_case, on one line of standard output. */
export function printJson(record: object): void {
  print`${JSON.stringify(snakeKeys(record))}`;
}

/** Prints a document, such as a result or a unit file. It is escaped on a terminal, and unchanged in a pipe or a file. */
export function printData(data: string): void {
  printPart(data.endsWith("\n") ? data : `${data}\n`);
}

/** Prints a piece of a document: the same, without adding a newline. */
export function printPart(data: string): void {
  writeOutput(standardOutput().isTTY ? printable(data, "\n\t") : data);
}

/** Prints exactly these characters, even on a terminal. Only for what was asked for with `--raw`. */
export function printRaw(data: string): void {
  writeOutput(data);
}

/** On a terminal, ends a line that the output left unfinished. */
export function endOutputLine(): void {
  if (isMidLine) writeOutput("\n");
}

/** Prints a line on standard error, unless notes are silenced: for people, not for scripts. */
export function note(strings: TemplateStringsArray, ...values: Value[]): void {
  if (!isSilenced) printErrors([text(strings, ...values)]);
}

/** From now on, `note` and `showStatus` do nothing. */
export function silenceNotes(): void {
  isSilenced = true;
}

/** Prints lines on standard error, even if notes are silenced. */
export function printErrors(lines: readonly Text[]): void {
  writeNotes(lines, (error) => {
    // EPIPE: standard error is closed, so the failure cannot be reported.
    if (error.code !== "EPIPE") process.exit(exitCodes.moduleFailed);
  });
}

/** Prints log lines in one write. If that fails they are lost, and the server keeps running. */
export function noteAll(lines: readonly Text[]): void {
  writeNotes(lines, () => {});
}

/** Shows a status line below all other output, if standard error is a terminal that can redraw a line. */
export function showStatus(render: (columns: number) => Text): void {
  if (!isSilenced && notesAreSeen() && !terminalIsDumb()) statusLine.show(render);
}

/** Removes the status line. */
export function endStatus(): void {
  statusLine.end();
}

/** What stands below all output: a line that a person is typing. */
export interface TypedLine {
  /** Makes room for output. */
  clear(): void;
  draw(): void;
}

/** From now on, output goes above this line; undefined: nothing is being typed. */
export function keepBelow(line: TypedLine | undefined): void {
  typedLine = line;
}

let typedLine: TypedLine | undefined;

/** With `--quiet`. */
let isSilenced = false;

/** Standard output is a terminal, and its last line is unfinished. */
let isMidLine = false;

const statusLine = new StatusLine({
  get columns() {
    // A terminal that does not know its width reports 0.
    return process.stderr.columns || 80;
  },
  get isAtLineStart() {
    return !isMidLine;
  },
  write: (data) => void standardError().write(data),
});

function writeOutput(data: string): void {
  if (data === "") return;
  statusLine.clear();
  typedLine?.clear();
  const stream = standardOutput();
  stream.write(data);
  if (stream.isTTY) isMidLine = !data.endsWith("\n");
  typedLine?.draw();
}

function writeNotes(lines: readonly Text[], onError: (error: NodeJS.ErrnoException) => void): void {
  statusLine.clear();
  typedLine?.clear();
  const stream = standardError();
  // Most likely, standard output is the same terminal.
  const lineEnd = isMidLine && stream.isTTY ? "\n" : "";
  if (lineEnd !== "") isMidLine = false;
  const data = lines.map((line) => `${line.renderFor(stream)}\n`).join("");
  stream.write(`${lineEnd}${data}`, (error) => {
    if (error) onError(error);
  });
  typedLine?.draw();
}

let output: NodeJS.WriteStream | undefined;

/** Opened when first used, because opening it takes time that a start can do without. */
function standardOutput(): NodeJS.WriteStream {
  output ??= process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Not as JSON, which would have to go to standard output.
    process.exit(reportFailure(new WriteFailure("standard output", error), false));
  });
  return output;
}

let errors: NodeJS.WriteStream | undefined;

function standardError(): NodeJS.WriteStream {
  // The callback of each write handles its error.
  errors ??= process.stderr.on("error", () => {});
  return errors;
}

/** Whether a person sees what `note` writes. */
export function notesAreSeen(): boolean {
  return process.stderr.isTTY;
}

/** Whether a person sees what `print` writes. */
export function outputIsTerminal(): boolean {
  return standardOutput().isTTY;
}

/** Whether `ask` can reach a person. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** Whether `askBelow` can reach a person. */
export function canAskBelow(): boolean {
  return process.stdin.isTTY && process.stdout.isTTY;
}

/**
 * Asks a question on the terminal and resolves with the line typed, or with "" at the end of input. Ctrl-C raises SIGINT,
 * as it does when no line is being read.
 */
export function ask(question: Text): Promise<string> {
  return askOn(process.stderr, question);
}

/** The same, on standard output: for a question about what was printed there. */
export function askBelow(question: Text): Promise<string> {
  return askOn(standardOutput(), question);
}

async function askOn(output: NodeJS.WriteStream, question: Text): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output });
  terminal.once("SIGINT", () => {
    terminal.close();
    // A handler is called directly: a real signal would arrive only after this promise has settled.
    if (!process.emit("SIGINT", "SIGINT")) process.kill(process.pid, "SIGINT");
  });
  const ended = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
  try {
    // It may reject when it is closed by Ctrl-C or the end of input.
    const typed = terminal.question(question.renderFor(output)).catch(() => "");
    return await Promise.race([typed, ended]);
  } finally {
    terminal.close();
  }
}

/**
 * Commander's output: help pages, and errors that quote arguments and variables. With JSON, an error is one object
 * instead, which `reportFailure` prints.
 */
export function commanderOutput(wantsJson: () => boolean): OutputConfiguration {
  return {
    writeOut: printData,
    writeErr: (page) => {
      if (!wantsJson()) note`${lines(page.trimEnd())}`;
    },
    outputError: (message) => {
      if (!wantsJson()) note`${indented(message)}`;
    },
  };
}

/** The exit code of a command that failed with this error. */
export function exitCodeFor({ code }: Pick<VeripyError, "code">): number {
  return exitCodeOf[code];
}

/** Reports an error, with `json` as one object on standard output, and returns the exit code. */
export function reportFailure(thrown: unknown, json: boolean): number {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return exitCodes.ok;
    if (json) printJson({ error: usageError(thrown), code: "bad_config" });
    return exitCodes.usage;
  }
  if (thrown instanceof WriteFailure && thrown.isBrokenPipe) return exitCodes.ok;
  const code = codeOf(thrown);
  const started = thrown instanceof VeripyError ? thrown.started : undefined;
  if (json) printJson({ error: messageOf(thrown), code, started });
  else printErrors([text`${styled("red", "error")}: ${indented(messageOf(thrown))}`]);
  if (code === "write_failed") return exitCodes.moduleFailed;
  if (code !== "internal") return exitCodeOf[code];
  // A bug in this program: a bug report needs the stack.
  if (thrown instanceof Error && thrown.stack !== undefined) printErrors([indented(thrown.stack)]);
  return exitCodes.moduleFailed;
}

function codeOf(thrown: unknown): ErrorCode | "write_failed" | "internal" {
  if (thrown instanceof WriteFailure) return "write_failed";
  return thrown instanceof VeripyError ? thrown.code : "internal";
}

/** Commander's message without the leading `error:`, on one line. */
function usageError({ code, message }: CommanderError): string {
  if (code === "commander.help") return "No command was given. --help lists the commands.";
  return message.replace(/^error: /, "").replaceAll("\n", " ");
}

/** Makes uncaught errors be reported here: the runtime would not escape them. */
export function reportUncaught(wantsJson: () => boolean): void {
  const report = (thrown: unknown) => process.exit(reportFailure(thrown, wantsJson()));
  process.on("uncaughtException", report);
  process.on("unhandledRejection", report);
}
