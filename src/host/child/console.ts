import { LogGate } from "../../base/log-gate.ts";
import { clip, type LogLevel, logLevels, maxLogLine } from "../protocol.ts";

/** The log lines of a module host: bounded in length and rate before they are sent. */
export class HostLog {
  readonly #send: (ref: string, json: string) => void;
  #gate = new LogGate(0);

  constructor(send: (ref: string, json: string) => void) {
    this.#send = send;
  }

  /** Lines are sent from now on. Before, no module runs that could write any. */
  open(maxLinesPerSecond: number): void {
    this.#gate = new LogGate(maxLinesPerSecond);
  }

  write(level: LogLevel, text: string, ref = "-"): void {
    for (const line of text.split("\n")) {
      if (line === "" && text !== "") continue;
      const dropped = this.#gate.pass();
      if (dropped === undefined) continue;
      const note = dropped === 0 ? "" : ` (${dropped} lines before this one were dropped)`;
      this.#send(ref, JSON.stringify({ level, text: clip(line, maxLogLine) + note }));
    }
  }
}

/**
 * Sends what a module writes with `console` to the server's log, with its level. Other methods (table, dir, time, …) and
 * direct writes to the standard streams reach the log through the process's pipes. Where there are no such pipes,
 * `everything` redirects those too.
 */
export function redirectConsole(log: HostLog, everything: boolean): void {
  for (const level of logLevels) console[level] = (...args: unknown[]) => log.write(level, format(args));
  console.log = (...args: unknown[]) => log.write("info", format(args));
  console.trace = (...args: unknown[]) => log.write("error", new Error(format(args)).stack ?? "");
  if (everything) redirectStreams(log);
}

function format(args: unknown[]): string {
  if (args.length === 1 && typeof args[0] === "string") return args[0];
  // Loaded on demand: it takes milliseconds, and most modules print nothing.
  return (require("node:util") as typeof import("node:util")).format(...args);
}

function redirectStreams(log: HostLog): void {
  const { Console } = require("node:console") as typeof import("node:console");
  const { Writable } = require("node:stream") as typeof import("node:stream");
  const sink = (level: LogLevel) =>
    new Writable({
      decodeStrings: false,
      write(chunk: unknown, _encoding, done) {
        log.write(level, String(chunk));
        done();
      },
    });
  const streams = { stdout: sink("info"), stderr: sink("error") };
  const full = new Console(streams);
  const { table, dir, dirxml, time, timeLog, timeEnd, count, group, groupEnd, assert } = full;
  Object.assign(console, { table, dir, dirxml, time, timeLog, timeEnd, count, group, groupEnd, assert });
  Object.defineProperty(process, "stdout", { value: streams.stdout });
  Object.defineProperty(process, "stderr", { value: streams.stderr });
}
