import { configure, getLogger, type LogLevel, type LogRecord } from "@logtape/logtape";
import { snakeKeys } from "../index.ts";
import { type Style, shortId, styled, type Text, text } from "./text.ts";
import { noteAll } from "./ui.ts";

const levelStyles: Record<LogLevel, Style> = {
  trace: "gray",
  debug: "gray",
  info: "green",
  warning: "yellow",
  error: "red",
  fatal: "red",
};

export interface LogOptions {
  level: LogLevel;
  json: boolean;
  /** Only what this part logs. */
  part?: "approvals";
}

/**
 * Sends the logs of a client's command to standard error, as its flags say. `--verbose` asks for the steps of a connection,
 * which are debug records. Without a flag, only what keeps a decision from being read or written down is shown.
 */
export async function startLogs({ logLevel, verbose, json = false }: LogFlags): Promise<void> {
  const level = verbose && logLevel !== "trace" ? "debug" : logLevel;
  await configureLogs(level === undefined ? { level: "warning", json, part: "approvals" } : { level, json });
}

interface LogFlags {
  logLevel?: LogLevel;
  verbose?: boolean;
  json?: boolean;
}

/** A step that a command takes by itself, for `--verbose`. */
export function logStep(message: string, properties: Record<string, unknown>): void {
  getLogger(["veripy", "client"]).debug(message, properties);
}

/** Sends logs to standard error, one line of text or, with `json`, one JSON object per record. */
export async function configureLogs({ level, json, part }: LogOptions): Promise<void> {
  const encode = json ? jsonLine : textLine;
  const lines = new LineBuffer();
  await configure({
    sinks: { stderr: (record) => lines.add(encode(record), record.level) },
    loggers: [
      { category: part === undefined ? ["veripy"] : ["veripy", part], lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
}

/**
 * Buffers the log lines of one turn of the event loop and writes them together: separate writes would be a third of the
 * cost of a short connection. A warning or worse is written at once, with the lines before it.
 */
class LineBuffer {
  #waiting: Text[] = [];

  constructor() {
    process.on("exit", () => this.#flush());
  }

  add(line: Text, level: LogLevel): void {
    if (this.#waiting.length === 0) setImmediate(() => this.#flush());
    this.#waiting.push(line);
    if (level !== "trace" && level !== "debug" && level !== "info") this.#flush();
  }

  #flush(): void {
    if (this.#waiting.length === 0) return;
    noteAll(this.#waiting);
    this.#waiting = [];
  }
}

function jsonLine({ timestamp, level, category, message, properties }: LogRecord): Text {
  const record = {
    ...snakeKeys(properties),
    time: new Date(timestamp).toISOString(),
    level,
    logger: category.join("."),
    message: message.map(plain).join(""),
  };
  return text`${JSON.stringify(record)}`;
}

function textLine({ timestamp, level, category, message, properties }: LogRecord): Text {
  const time = styled("gray", new Date(timestamp).toISOString());
  const tag = styled(levelStyles[level], level.padEnd(7));
  const { tree } = properties;
  const said = message.map((part) =>
    part === tree && typeof tree === "string" ? shortId(tree) : plain(part),
  );
  return text`${time} ${tag} ${category.slice(1).join(".")}: ${said.join("")}`;
}

function plain(part: unknown): string {
  if (Array.isArray(part)) return part.join(", ");
  return typeof part === "string" ? part : JSON.stringify(part);
}
