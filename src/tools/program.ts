import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A program in the background: the demo waits for lines that it prints, and stops it at the end. */
export class Program {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #unread: string[] = [];
  #arrived: () => void = () => {};

  /** `onLine` is called with every line of standard output and standard error as it arrives. */
  constructor(path: string, args: readonly string[], cwd: string, onLine: (line: string) => void) {
    this.#name = [path, ...args].join(" ");
    // A process group of its own: Ctrl-C must reach only the demo, which then stops this program.
    this.#child = spawn(path, args, { cwd, stdio: ["ignore", "pipe", "pipe"], detached: true });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        onLine(line);
        this.#unread.push(line);
        this.#arrived();
      });
    }
    this.#child.once("error", () => this.#arrived());
    this.#child.once("exit", () => this.#arrived());
  }

  /** The first line that `matches`, after the last one returned. Throws after `ms`, or when the program ends. */
  async line(what: string, matches: (line: string) => boolean, ms = 20_000): Promise<string> {
    const deadline = performance.now() + ms;
    for (;;) {
      for (let line = this.#unread.shift(); line !== undefined; line = this.#unread.shift()) {
        if (matches(line)) return line;
      }
      if (this.#hasEnded()) throw new Error(`'${this.#name}' ended instead of saying ${what}.`);
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`'${this.#name}' did not say ${what} within ${ms / 1_000} s.`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Sends SIGTERM, after five seconds SIGKILL, and resolves when the program has ended. */
  async stop(): Promise<void> {
    if (this.#hasEnded()) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    const force = setTimeout(() => this.#child.kill("SIGKILL"), 5_000);
    await ended;
    clearTimeout(force);
  }

  #hasEnded(): boolean {
    const { exitCode, signalCode, pid } = this.#child;
    return exitCode !== null || signalCode !== null || pid === undefined;
  }
}
