import { styleText } from "node:util";
import { configure, type LogLevel, type LogRecord } from "@logtape/logtape";
import { type Command, CommanderError } from "commander";
import { type ErrorCode, messageOf, VeripyError } from "../index.ts";

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
  not_found: exitCodes.moduleFailed,
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

type Style = Parameters<typeof styleText>[0];

/** Text in colour, if standard output is a terminal that wants it. */
export function styled(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

/** Standard output. Others read it, so it carries answers only. */
export function print(line: string): void {
  standardOutput().write(line.endsWith("\n") ? line : `${line}\n`);
}

export function printJson(value: unknown): void {
  standardOutput().write(`${JSON.stringify(value)}\n`);
}

let output: NodeJS.WriteStream | undefined;

/** Opened by the first who prints: it takes a start longer. */
function standardOutput(): NodeJS.WriteStream {
  output ??= process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever read has seen enough, as `head` does.
    if (error.code === "EPIPE") process.exit(exitCodes.ok);
    throw error;
  });
  return output;
}

/** Standard error: what a person should know, and no script reads. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** The default command takes no arguments, so the first of them was meant to be the name of a command. */
export function refuseUnknownCommand(action: Command): void {
  const [name] = action.args;
  if (name !== undefined && action.registeredArguments.length === 0)
    action.error(`error: there is no command '${name}'.`);
}

/** Says what went wrong and gives the exit code. With `json`, as one object on standard output. */
export function reportFailure(thrown: unknown, json: boolean): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  const code: ErrorCode | "internal" = thrown instanceof VeripyError ? thrown.code : "internal";
  if (json) printJson({ error: messageOf(thrown), code });
  else note(`${styleText("red", "error", { stream: process.stderr })}: ${messageOf(thrown)}`);
  if (code !== "internal") return exitCodeOf[code];
  // A fault of ours: whoever reports it needs the stack.
  if (thrown instanceof Error && thrown.stack !== undefined) note(thrown.stack);
  return exitCodes.moduleFailed;
}

const levelStyles: Record<LogLevel, Style> = {
  trace: "gray",
  debug: "gray",
  info: "green",
  warning: "yellow",
  error: "red",
  fatal: "red",
};

/** Logs go to standard error: a line of text each, or with `json` a JSON object. */
export async function configureLogs({ level, json }: { level: LogLevel; json: boolean }): Promise<void> {
  const encode = json ? jsonLine : textLine;
  const lines = new LineBuffer();
  await configure({
    sinks: { stderr: (record) => lines.add(encode(record), record.level) },
    loggers: [
      { category: ["veripy"], lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
}

/**
 * Log lines on their way to standard error: the lines of one turn of the event loop leave in one write, since a
 * write each would be a third of what a short connection costs. Warnings and worse take along what waits.
 */
class LineBuffer {
  #waiting = "";

  constructor() {
    process.on("exit", () => this.#flush());
  }

  add(line: string, level: LogLevel): void {
    if (this.#waiting === "") setImmediate(() => this.#flush());
    this.#waiting += line;
    if (level !== "trace" && level !== "debug" && level !== "info") this.#flush();
  }

  #flush(): void {
    if (this.#waiting === "") return;
    process.stderr.write(this.#waiting);
    this.#waiting = "";
  }
}

function jsonLine({ timestamp, level, category, message, properties }: LogRecord): string {
  const record = {
    ...properties,
    time: new Date(timestamp).toISOString(),
    level,
    logger: category.join("."),
    message: message.map(plain).join(""),
  };
  return `${JSON.stringify(record)}\n`;
}

function textLine({ timestamp, level, category, message }: LogRecord): string {
  const time = styleText("gray", new Date(timestamp).toISOString(), { stream: process.stderr });
  const tag = styleText(levelStyles[level], level.padEnd(7), { stream: process.stderr });
  return `${time} ${tag} ${category.slice(1).join(".")}: ${message.map(plain).map(printable).join("")}\n`;
}

function plain(part: unknown): string {
  if (Array.isArray(part)) return part.join(", ");
  return typeof part === "string" ? part : JSON.stringify(part);
}

/** What others put into a log line must not move the cursor, change colours or forge a line. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
