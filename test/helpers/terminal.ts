import { testEnvironment } from "./processes.ts";
import { eventually, within } from "./within.ts";

/** A command on its own terminal; `await using` kills it. */
export class Terminal implements AsyncDisposable {
  /** Everything that was shown, including escape sequences. */
  output = "";
  readonly #process: Bun.Subprocess;
  readonly #decoder = new TextDecoder();
  readonly #closed = Promise.withResolvers<void>();

  constructor(
    command: string[],
    cwd: string,
    { columns = 200, env = {} }: { columns?: number; env?: Record<string, string> } = {},
  ) {
    this.#process = Bun.spawn(command, {
      cwd,
      // Where `CI` is set, the runtime colours nothing, even on a terminal.
      env: { ...testEnvironment(cwd), CI: undefined, ...env },
      terminal: {
        cols: columns,
        data: (_, bytes) => {
          this.output += this.#decoder.decode(bytes, { stream: true });
        },
        exit: () => this.#closed.resolve(),
      },
    });
  }

  /** Resolves when the output matches. */
  shows(pattern: RegExp, ms = 10_000): Promise<RegExpExecArray> {
    const find = () => pattern.exec(this.output) ?? undefined;
    return eventually(`${pattern} on the terminal`, find, ms).catch((error: Error) => {
      throw new Error(`${error.message} It shows: ${this.output}`);
    });
  }

  /** The lines on the screen, after carriage returns took effect. Other control characters are left in. */
  get screen(): string[] {
    return this.output.split("\n").map((line) => {
      let shown = "";
      for (const drawn of line.split("\r")) shown = drawn + shown.slice(drawn.length);
      return shown.trimEnd();
    });
  }

  type(keys: string): void {
    this.#process.terminal?.write(keys);
  }

  resize(columns: number, rows: number): void {
    this.#process.terminal?.resize(columns, rows);
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Closes the terminal: the kernel sends SIGHUP to the programs in it. */
  close(): void {
    this.#process.terminal?.close();
  }

  /** Resolves with the exit code, when all output is in `output`. */
  async ended(): Promise<number> {
    await within(10_000, "the end of the process", Promise.all([this.#process.exited, this.#closed.promise]));
    return this.#process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#process.terminal?.close();
  }
}
