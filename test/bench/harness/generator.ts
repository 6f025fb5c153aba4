import { createInterface } from "node:readline";
import type { Command, Reply, Result, Target } from "./commands.ts";
import { percentile } from "./statistics.ts";

/** One connection of one client. */
export interface Connection<Answer = string> {
  /** The promise that the stack's own client gives, with nothing around it. */
  call(args: string): Promise<Answer>;
  close(): void | Promise<void>;
}

/** What each kind of client brings; the loops around it are the same for all. */
export interface Adapter<Answer = string> {
  /** Opens a connection, or several where one carries only one call, ready to be called. */
  connect(target: Target, inFlight: number): Promise<Connection<Answer>>;
  /** The text in an answer; given where that is not the answer itself. It has to be what `expected` says. */
  textOf?(answer: Answer): string;
  /** A connection that is opened to be counted or kept; `connect` unless given. */
  open?(target: Target): Promise<{ close(): void | Promise<void> }>;
  expected?(args: string): string;
  broadcast?(target: Target, command: Extract<Command, { do: "broadcast" }>): Promise<Result>;
  edits?(target: Target, command: Extract<Command, { do: "edits" }>): Promise<Result>;
}

const hello = (args: string): string => `Hello, ${args}!`;

/** Runs a load generator: commands from standard input, replies to standard output, until the input ends. */
export async function runGenerator<Answer = string>(adapter: Adapter<Answer>): Promise<never> {
  const target = JSON.parse(process.argv[2] ?? "null") as Target;
  const held: { close(): void | Promise<void> }[] = [];
  const open = (): Promise<{ close(): void | Promise<void> }> =>
    adapter.open?.(target) ?? adapter.connect(target, 1);

  for await (const line of createInterface({ input: process.stdin })) {
    try {
      reply({ done: await perform(JSON.parse(line) as Command) });
    } catch (error) {
      reply({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  }
  process.exit(0);

  async function perform(command: Command): Promise<Result> {
    switch (command.do) {
      case "load":
        return load(adapter, target, command);
      case "handshakes":
        return handshakes(open, command);
      case "hold":
        await inBatches(command.connections, 16, async () => void held.push(await open()));
        return { count: held.length, ms: 0, times: {} };
      case "release":
        await Promise.all(held.splice(0).map((connection) => connection.close()));
        return { count: 0, ms: 0, times: {} };
      case "broadcast":
        if (adapter.broadcast === undefined) throw new Error("This client knows no broadcasts.");
        return adapter.broadcast(target, command);
      case "edits":
        if (adapter.edits === undefined) throw new Error("This client knows no modules.");
        return adapter.edits(target, command);
    }
  }
}

/** A promise for each call, and `inFlight` of them under way on every connection. */
async function load<Answer>(
  adapter: Adapter<Answer>,
  target: Target,
  command: Extract<Command, { do: "load" }>,
): Promise<Result> {
  const args = command.bytes === 0 ? "World" : "x".repeat(command.bytes);
  const expected = (adapter.expected ?? hello)(args);
  const connections = await Promise.all(
    Array.from({ length: command.connections }, () => adapter.connect(target, command.inFlight)),
  );
  const textOf = adapter.textOf ?? String;
  const latencies = new Float64Array(4_000_000);
  let count = 0;
  let countsFrom = Number.POSITIVE_INFINITY;
  let end = Number.POSITIVE_INFINITY;

  const work = async (connection: Connection<Answer>): Promise<void> => {
    for (;;) {
      const start = performance.now();
      if (start >= end) return;
      const result = textOf(await connection.call(args));
      const now = performance.now();
      if (result !== expected) throw new Error(`A wrong answer: ${result.slice(0, 200)}`);
      if (now >= countsFrom && now <= end) latencies[count++] = now - start;
    }
  };
  const workers = connections.flatMap((connection) =>
    Array.from({ length: command.inFlight }, () => work(connection)),
  );
  const failed = Promise.all(workers);
  await Promise.race([pause(command.warmupMs), failed]);
  reply({ measuring: true });
  countsFrom = performance.now();
  end = countsFrom + command.durationMs;
  await failed;
  for (const connection of connections) await connection.close();

  const sorted = latencies.subarray(0, count).sort();
  return {
    count,
    ms: command.durationMs,
    times: {},
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
  };
}

/** Opens, waits for the proof that the server has accepted, closes, again. */
async function handshakes(
  open: () => Promise<{ close(): void | Promise<void> }>,
  command: Extract<Command, { do: "handshakes" }>,
): Promise<Result> {
  let count = 0;
  let countsFrom = Number.POSITIVE_INFINITY;
  let end = Number.POSITIVE_INFINITY;
  const work = async (): Promise<void> => {
    while (performance.now() < end) {
      const connection = await open();
      const now = performance.now();
      if (now >= countsFrom && now <= end) count++;
      await connection.close();
    }
  };
  const workers = Promise.all(Array.from({ length: command.atOnce }, work));
  await Promise.race([pause(command.warmupMs), workers]);
  reply({ measuring: true });
  countsFrom = performance.now();
  end = countsFrom + command.durationMs;
  await workers;
  return { count, ms: command.durationMs, times: {} };
}

/** `count` runs of `one`, at most `atOnce` of them at a time. */
async function inBatches(count: number, atOnce: number, one: () => Promise<void>): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await one();
    }),
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function reply(message: Reply): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
