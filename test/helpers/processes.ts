import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileSink, Subprocess } from "bun";
import { eventually, within } from "./within.ts";

/** A command's output and exit code. */
export interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly deadlineMs?: number;
}

/** The environment of a command that runs in `cwd`: the user's settings are in that folder, not those of the real user. */
export function testEnvironment(
  cwd = join(tmpdir(), "veripy-test-home"),
  env: Record<string, string | undefined> = process.env,
): Record<string, string | undefined> {
  const own = env === process.env ? undefined : env.XDG_CONFIG_HOME;
  return { ...env, XDG_CONFIG_HOME: own ?? join(cwd, ".config") };
}

/** Runs a command to its end. */
export async function run(command: string[], options: RunOptions = {}): Promise<Ended> {
  const child = Bun.spawn(command, {
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: testEnvironment(options.cwd, options.env),
  });
  const output = Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  try {
    const [stdout, stderr, exitCode] = await within(options.deadlineMs ?? 20_000, command.join(" "), output);
    return { exitCode, stdout, stderr };
  } finally {
    child.kill("SIGKILL");
  }
}

/** A command that keeps running. Its output is collected line by line; `await using` kills it. */
export class Running implements AsyncDisposable {
  readonly process: Subprocess<"ignore" | "pipe", "pipe", "pipe">;
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];

  /** With `stdin: "pipe"` its input stays open, for `write`. */
  constructor(
    command: string[],
    options: { cwd?: string; env?: Record<string, string>; stdin?: "ignore" | "pipe" } = {},
  ) {
    this.process = Bun.spawn(command, {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      ...options,
      env: testEnvironment(options.cwd, options.env),
    });
    void collect(this.process.stdout, this.stdout);
    void collect(this.process.stderr, this.stderr);
  }

  /** The first line of either stream that matches, now or later. */
  line(pattern: RegExp | string | ((line: string) => boolean), ms = 10_000): Promise<string> {
    const matches = (line: string) => {
      if (typeof pattern === "function") return pattern(line);
      return typeof pattern === "string" ? line.includes(pattern) : pattern.test(line);
    };
    const find = () => this.stdout.find(matches) ?? this.stderr.find(matches);
    return eventually(`a line with ${pattern}`, find, ms).catch((error: Error) => {
      throw new Error(`${error.message} It printed:\n${[...this.stdout, ...this.stderr].join("\n")}`);
    });
  }

  write(text: string): void {
    this.#stdin.write(text);
    this.#stdin.flush();
  }

  endInput(): void {
    this.#stdin.end();
  }

  get #stdin(): FileSink {
    const { stdin } = this.process;
    if (stdin === undefined || typeof stdin === "number") throw new Error("It was started without an input.");
    return stdin;
  }

  async ended(ms = 15_000): Promise<number> {
    return within(ms, "the end of the process", this.process.exited);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }
}

async function collect(stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  }
  if (rest !== "") lines.push(rest);
}
