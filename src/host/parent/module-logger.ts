import { loggerOf } from "../../base/log.ts";
import { LogGate } from "../../base/log-gate.ts";
import { printable } from "../../base/printable.ts";
import { clip, type LogLevel, maxLogLine } from "../protocol.ts";

const logger = loggerOf("module");

/**
 * Writes one module's lines to the server's log: tagged with the module, with control characters made visible so that
 * it cannot forge lines or control a terminal, and with a count of those dropped over the limit.
 */
export class ModuleLogger {
  readonly #mod: string;
  readonly #tree: string;
  readonly #gate: LogGate;

  constructor(mod: string, tree: string, maxLinesPerSecond: number) {
    this.#mod = mod;
    this.#tree = tree;
    // The process has a gate of its own. What passes it may arrive in bunches, and is not to be dropped here.
    this.#gate = new LogGate(maxLinesPerSecond, 2 * maxLinesPerSecond);
  }

  /** A line that the module wrote. `ref` is the call's, when it belongs to one. */
  line(level: LogLevel, text: string, ref?: string): void {
    const dropped = this.#gate.pass();
    if (dropped === undefined) return;
    if (dropped > 0) this.say("warn", `dropped ${dropped} log lines over the limit`);
    const properties = {
      mod: this.#mod,
      tree: this.#tree,
      ref,
      text: printable(clip(text, 2 * maxLogLine), "\t"),
    };
    logger[level]("{mod}: {text}", properties);
  }

  /** A line of the server's own about the module. */
  say(level: LogLevel, text: string): void {
    logger[level]("{mod} {text}", { mod: this.#mod, tree: this.#tree, text: printable(text, "\t") });
  }
}
