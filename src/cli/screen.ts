import { writeSync } from "node:fs";
import type { Text } from "./text.ts";

const enter = "\x1b[?1049h\x1b[?25l";
const leave = "\x1b[?25h\x1b[?1049l";
const home = "\x1b[H";
const clearToLineEnd = "\x1b[K";
const clearBelow = "\x1b[J";

/** What arrows and other keys send that are not one character. */
const keySequences = /\x1b(\[[0-?]*[ -/]*[@-~]|O?.)?/gsu;

/**
 * The whole terminal, on its alternate screen. Each frame is one write that overwrites the one before, so nothing flickers.
 * What stood there before is back after `close`, and at the end of the process.
 */
export class Screen {
  readonly #onExit = () => this.close();
  readonly #onResize: () => void;
  readonly #onKeys: (bytes: Buffer) => void;
  #isOpen = true;

  /** `onKey` gets each key that is one character; Ctrl-C is "\x03". */
  constructor(handlers: { onKey(key: string): void; onResize(): void }) {
    this.#onResize = handlers.onResize;
    this.#onKeys = (bytes) => {
      for (const key of bytes.toString().replaceAll(keySequences, "")) handlers.onKey(key);
    };
    process.on("exit", this.#onExit);
    process.stdout.on("resize", this.#onResize);
    if (process.stdin.isTTY) process.stdin.setRawMode(true).on("data", this.#onKeys);
    process.stdout.write(enter);
  }

  /** A line that takes all columns would make the terminal wrap. */
  get columns(): number {
    return (process.stdout.columns || 80) - 1;
  }

  get rows(): number {
    return process.stdout.rows || 24;
  }

  /** Draws as many of the lines as there are rows. None may be wider than `columns`. */
  draw(lines: readonly Text[]): void {
    const shown = lines
      .slice(0, this.rows)
      .map((line) => `${line.renderFor(process.stdout)}${clearToLineEnd}`);
    process.stdout.write(`${home}${shown.join("\r\n")}${clearBelow}`);
  }

  /** Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    process.off("exit", this.#onExit);
    process.stdout.off("resize", this.#onResize);
    if (process.stdin.isTTY) process.stdin.off("data", this.#onKeys).setRawMode(false).pause();
    // At the end of the process, nothing else may be written later.
    writeSync(1, leave);
  }
}

/** How wide a line on standard output may be: any width, if it is not a terminal. */
export function outputColumns(): number {
  return process.stdout.isTTY ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;
}
