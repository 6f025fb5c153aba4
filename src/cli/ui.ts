import { createInterface } from "node:readline/promises";
import { CommanderError, type OutputConfiguration } from "commander";
import { type ErrorCode, messageOf, printable, snakeKeys, VeripyError } from "../index.ts";
import { terminalIsDumb } from "./environment.ts";
import { StatusLine } from "./status-line.ts";
import { indented, lines, styled, type Text, text, type Value } from "./text.ts";
import { WriteFailure } from "./write-failure.ts";

// The one door to the terminal: nothing else in `cli/` writes to a standard stream, and everything that passes here is
// escaped (see `text.ts`). test/architecture.test.ts enforces the first, the types of `print` and `note` the second.

/** The exit codes of both commands, as `--help` and the README list them. */
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
  timeout: exitCodes.timedOut,
};

/** A line on standard output. Others read it, so it carries answers only. */
export function print(strings: TemplateStringsArray, ...values: Value[]): void {
  printAll([text(strings, ...values)]);
}

/** Several of them in one write. */
export function printAll(lines: readonly Text[]): void {
  writeOutput(lines.map((line) => `${line.renderFor(standardOutput())}\n`).join(""));
}

/** One JSON object on a line of standard output, its fields in snake_case. */
export function printJson(record: object): void {
  print`${JSON.stringify(snakeKeys(record))}`;
}

/** A document, such as a result or a unit file. It is escaped on a terminal and left alone in a pipe or a file. */
export function printData(data: string): void {
  printPart(data.endsWith("\n") ? data : `${data}\n`);
}

/** The same for a piece of a document: no newline is added to it. */
export function printPart(data: string): void {
  writeOutput(standardOutput().isTTY ? printable(data, "\n\t") : data);
}

/** Exactly these characters, on a terminal too. Only for what a person asked for with `--raw`. */
export function printRaw(data: string): void {
  writeOutput(data);
}

/** On a terminal, a newline where the last of the output has none. */
export function endOutputLine(): void {
  if (isMidLine) writeOutput("\n");
}

/** A line on standard error: what a person should know, and no script reads. */
export function note(strings: TemplateStringsArray, ...values: Value[]): void {
  writeNotes([text(strings, ...values)], (error) => {
    // EPIPE: there is no reader left.
    if (error.code !== "EPIPE") process.exit(exitCodes.moduleFailed);
  });
}

/** Lines of the log in one write. A server goes on when it can't be written. */
export function noteAll(lines: readonly Text[]): void {
  writeNotes(lines, () => {});
}

/** Shows a line that is redrawn below all other output. Where a person sees no such line, nothing is shown. */
export function showStatus(render: (columns: number) => Text): void {
  if (notesAreSeen() && !terminalIsDumb()) statusLine.show(render);
}

/** Removes that line for good. */
export function endStatus(): void {
  statusLine.end();
}

/** Standard output is a terminal, and its cursor stands behind something. */
let isMidLine = false;

const statusLine = new StatusLine({
  get columns() {
    // A terminal that does not know its width says 0.
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
  const stream = standardOutput();
  stream.write(data);
  if (stream.isTTY) isMidLine = !data.endsWith("\n");
}

function writeNotes(lines: readonly Text[], onError: (error: NodeJS.ErrnoException) => void): void {
  statusLine.clear();
  const stream = standardError();
  // On the same terminal as the output, most likely.
  const lineEnd = isMidLine && stream.isTTY ? "\n" : "";
  if (lineEnd !== "") isMidLine = false;
  const data = lines.map((line) => `${line.renderFor(stream)}\n`).join("");
  stream.write(`${lineEnd}${data}`, (error) => {
    if (error) onError(error);
  });
}

let output: NodeJS.WriteStream | undefined;

/** Opened by the first caller: it takes a start longer. */
function standardOutput(): NodeJS.WriteStream {
  output ??= process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Without JSON, which would go the same way.
    process.exit(reportFailure(new WriteFailure("standard output", error), false));
  });
  return output;
}

let errors: NodeJS.WriteStream | undefined;

function standardError(): NodeJS.WriteStream {
  // Each write has a callback that is told.
  errors ??= process.stderr.on("error", () => {});
  return errors;
}

/** Whether a person sees what `note` writes. */
export function notesAreSeen(): boolean {
  return process.stderr.isTTY;
}

/** Whether `ask` would reach a person. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/**
 * Puts a question on the terminal and resolves with the line that is typed; at the end of input, with nothing.
 * Ctrl-C, which is a character while a line is being read, is the signal that it is at other times.
 */
export async function ask(question: Text): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  terminal.once("SIGINT", () => {
    terminal.close();
    // At once, where there is a handler: a signal comes later, and this promise would settle before it.
    if (!process.emit("SIGINT", "SIGINT")) process.kill(process.pid, "SIGINT");
  });
  const ended = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
  try {
    // Closed by Ctrl-C or at the end of input, it may reject.
    const typed = terminal.question(question.renderFor(process.stderr)).catch(() => "");
    return await Promise.race([typed, ended]);
  } finally {
    terminal.close();
  }
}

/**
 * What commander writes: pages of help, and errors that quote arguments and variables. With JSON an error is one
 * object instead, which `reportFailure` prints.
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

/** The exit code of a command that has failed with this error. */
export function exitCodeFor({ code }: VeripyError): number {
  return exitCodeOf[code];
}

/** Says what went wrong and gives the exit code. With `json`, as one object on standard output. */
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
  else note`${styled("red", "error")}: ${indented(messageOf(thrown))}`;
  if (code === "write_failed") return exitCodes.moduleFailed;
  if (code !== "internal") return exitCodeOf[code];
  // A bug in this program: a report of it needs the stack.
  if (thrown instanceof Error && thrown.stack !== undefined) note`${indented(thrown.stack)}`;
  return exitCodes.moduleFailed;
}

function codeOf(thrown: unknown): ErrorCode | "write_failed" | "internal" {
  if (thrown instanceof WriteFailure) return "write_failed";
  return thrown instanceof VeripyError ? thrown.code : "internal";
}

/** Commander's message without its tag, on one line. */
function usageError({ code, message }: CommanderError): string {
  if (code === "commander.help") return "There is no command. --help lists them.";
  return message.replace(/^error: /, "").replaceAll("\n", " ");
}

/** Reports an uncaught error and exits. The runtime's own report would not be escaped. */
export function reportUncaught(wantsJson: () => boolean): void {
  const report = (thrown: unknown) => process.exit(reportFailure(thrown, wantsJson()));
  process.on("uncaughtException", report);
  process.on("unhandledRejection", report);
}
