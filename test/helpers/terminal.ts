import { eventually, within } from "./within.ts";

/** A command on a terminal of its own; `await using` kills it. */
export class Terminal implements AsyncDisposable {
  /** All that was shown, escape sequences included. */
  output = "";
  readonly #process: Bun.Subprocess;
  readonly #decoder = new TextDecoder();

  constructor(command: string[], cwd: string) {
    this.#process = Bun.spawn(command, {
      cwd,
      terminal: {
        cols: 200,
        data: (_, bytes) => {
          this.output += this.#decoder.decode(bytes, { stream: true });
        },
      },
    });
  }

  /** What is shown and matches, now or later. */
  shows(pattern: RegExp): Promise<RegExpExecArray> {
    const find = () => pattern.exec(this.output) ?? undefined;
    return eventually(`${pattern} on the terminal`, find).catch((error: Error) => {
      throw new Error(`${error.message} It shows: ${this.output}`);
    });
  }

  type(keys: string): void {
    this.#process.terminal?.write(keys);
  }

  ended(): Promise<number> {
    return within(10_000, "the end of the process", this.#process.exited);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#process.terminal?.close();
  }
}
