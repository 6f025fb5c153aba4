import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import { Writable } from "node:stream";
import { terminalIsDumb } from "./environment.ts";
import type { Text } from "./text.ts";
import { keepBelow, note } from "./ui.ts";

export interface LineEditorOptions {
  readonly prompt: Text;
  /** Earlier lines, oldest first. */
  readonly history: readonly string[];
  complete(line: string): [candidates: string[], end: string];
  /** Ctrl-C while no line is being typed. */
  onInterrupt(): void;
}

/**
 * Reads lines that a person types, on standard error as shells do. Other output goes above the line. What is typed while no
 * line is asked for stays hidden, and is there for the next one.
 */
export class LineEditor {
  readonly #readline: Interface;
  readonly #options: LineEditorOptions;
  readonly #echo = new Echo();
  /** Lines that were typed before they were asked for. */
  readonly #lines: string[] = [];
  #waiting: ((line: string | undefined) => void) | undefined;
  #isEnded = false;

  constructor(options: LineEditorOptions) {
    this.#options = options;
    this.#readline = createInterface({
      input: process.stdin,
      output: this.#echo,
      terminal: !terminalIsDumb(),
      prompt: options.prompt.plain,
      history: options.history.toReversed(),
      historySize: 1_000,
      completer: (line: string) => options.complete(line),
    })
      .on("line", (line) => this.#typed(line))
      .on("history", (history) => {
        if (history[0]?.startsWith(" ")) history.shift();
      })
      .on("SIGINT", () => this.interrupt())
      .on("close", () => this.#ended());
  }

  /** Resolves with the next line; with undefined when there are no more. */
  next(): Promise<string | undefined> {
    const line = this.#lines.shift();
    if (line !== undefined || this.#isEnded) {
      if (line !== undefined) note`${this.#options.prompt}${line}`;
      return Promise.resolve(line);
    }
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#echo.isHidden = false;
      this.#readline.prompt(true);
      keepBelow({ clear: () => this.#clear(), draw: () => this.#draw() });
    });
  }

  /** Ctrl-C, or SIGINT: drops what is typed. On an empty line, says how to leave. */
  interrupt(): void {
    if (this.#waiting === undefined) this.#options.onInterrupt();
    else if (this.#readline.line === "") note`To leave, type exit or press Ctrl-D.`;
    else {
      this.#readline.write(null, { ctrl: true, name: "e" });
      this.#readline.write(null, { ctrl: true, name: "u" });
    }
  }

  close(): void {
    this.#readline.close();
  }

  #typed(line: string): void {
    if (this.#waiting === undefined) this.#lines.push(line);
    else this.#settle(line);
  }

  #ended(): void {
    this.#isEnded = true;
    if (this.#waiting === undefined) return;
    this.#echo.write("\n");
    this.#settle(undefined);
  }

  #settle(line: string | undefined): void {
    keepBelow(undefined);
    this.#echo.isHidden = true;
    this.#waiting?.(line);
    this.#waiting = undefined;
  }

  #clear(): void {
    if (!this.#readline.terminal) {
      this.#echo.write("\n");
      return;
    }
    moveCursor(this.#echo, 0, -this.#readline.getCursorPos().rows);
    cursorTo(this.#echo, 0);
    clearScreenDown(this.#echo);
  }

  #draw(): void {
    // readline would go up by as many rows as the line took before, into what was printed.
    Object.assign(this.#readline, { prevRows: 0 });
    this.#readline.prompt(true);
  }
}

/** The terminal as readline draws on it. */
class Echo extends Writable {
  isHidden = true;

  constructor() {
    super({ decodeStrings: false });
    process.stderr.on("resize", () => this.emit("resize"));
  }

  get columns(): number {
    return process.stderr.columns || 80;
  }

  override _write(data: string, _: BufferEncoding, done: () => void): void {
    if (!this.isHidden) process.stderr.write(data);
    done();
  }
}
