import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Command, Reply, Result, Target } from "./commands.ts";

/** Every process that was started and has not ended. None outlives the benchmark. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

export interface Started {
  readonly pid: number;
  readonly port: number;
  /** From the start of the process to its word that it listens. */
  readonly startMs: number;
  stop(): Promise<void>;
}

/** Starts a server and waits for the line that tells its port; `portOf` reads it from a line of output. */
export async function startServer(
  command: readonly [string, ...string[]],
  portOf: (line: string) => number | undefined = jsonPort,
): Promise<Started> {
  const started = performance.now();
  const child = start(command, ["ignore", "pipe", "pipe"]);
  const lines: string[] = [];
  const listening = new Promise<number>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      const reader = createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        const port = portOf(line);
        if (port === undefined) return;
        resolve(port);
        // From here on its log is only thrown away: reading lines of it would take time from what is measured.
        reader.close();
        stream.resume();
      });
    }
    child.once("error", reject);
    child.once("exit", () =>
      reject(new Error(`'${command.join(" ")}' ended before it listened:\n${lines.join("\n")}`)),
    );
  });
  try {
    const port = await withDeadline(listening, 20_000, `'${command.join(" ")}' did not begin to listen`);
    return { pid: child.pid ?? 0, port, startMs: performance.now() - started, stop: () => end(child) };
  } catch (error) {
    await end(child);
    throw error;
  }
}

function jsonPort(line: string): number | undefined {
  return line.startsWith('{"port":') ? (JSON.parse(line) as { port: number }).port : undefined;
}

/** A load generator in a process of its own. */
export class Generator {
  readonly #child: ChildProcess;
  readonly #replies: AsyncIterator<string>;
  readonly #name: string;

  constructor(command: readonly [string, ...string[]], target: Target) {
    this.#name = command.join(" ");
    this.#child = start([...command, JSON.stringify(target)], ["pipe", "pipe", "inherit"]);
    if (this.#child.stdout === null) throw new Error("A generator has no output.");
    this.#replies = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** `onMeasuring` is called when the time that counts begins. */
  async perform(command: Command, onMeasuring: () => void = () => {}): Promise<Result> {
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    for (;;) {
      const next = await withDeadline(this.#replies.next(), 60_000, `'${this.#name}' did not answer`);
      if (next.done === true) throw new Error(`'${this.#name}' ended in the middle of '${command.do}'.`);
      const reply = JSON.parse(next.value) as Reply;
      if ("failed" in reply) throw new Error(`'${command.do}' failed in '${this.#name}': ${reply.failed}`);
      if ("done" in reply) return reply.done;
      onMeasuring();
    }
  }

  stop(): Promise<void> {
    return end(this.#child);
  }
}

/** How long a program takes from its start to its end, in milliseconds. Throws when it fails. */
export async function timeOf(command: readonly [string, ...string[]]): Promise<number> {
  const started = performance.now();
  const child = start(command, ["ignore", "ignore", "ignore"]);
  const [code] = (await withDeadline(once(child, "exit"), 20_000, `'${command.join(" ")}'`)) as [
    number | null,
  ];
  const ms = performance.now() - started;
  if (code !== 0) throw new Error(`'${command.join(" ")}' ended with ${code}.`);
  return ms;
}

function start(
  [program, ...args]: readonly [string, ...string[]],
  stdio: ("ignore" | "inherit" | "pipe")[],
): ChildProcess {
  const child = spawn(program, args, { stdio });
  running.add(child);
  child.once("exit", () => running.delete(child));
  // Without a listener a missing program would end the benchmark. The caller sees that the process has ended.
  child.once("error", () => running.delete(child));
  return child;
}

/** Asks it to stop, and makes it after a second. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 1_000);
  await ended;
  clearTimeout(force);
}

async function withDeadline<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} within ${ms / 1000} s.`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
