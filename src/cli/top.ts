import { setTimeout } from "node:timers/promises";
import {
  activityBetween,
  type ModuleActivity,
  type ModuleStats,
  messageOf,
  type VeripyClient,
  VeripyError,
} from "../index.ts";
import { approvalJson } from "./approval-text.ts";
import type { ClientOptions } from "./client-options.ts";
import { terminalIsDumb } from "./environment.ts";
import { approvalOf } from "./module-stats.ts";
import { outputColumns, Screen } from "./screen.ts";
import { leaveInterrupted } from "./signals.ts";
import { cut, joined, styled, type Text, text } from "./text.ts";
import { type SortKey, sortOrders, sortRows, type TopOrder, type TopRow, topTable } from "./top-table.ts";
import { note, outputIsTerminal, printAll, printJson } from "./ui.ts";

export interface TopFlags {
  readonly once?: boolean;
  /** In milliseconds. */
  readonly interval: number;
}

/** Shows what the modules do, until it is left or, with `once`, for one interval. */
export async function top(client: VeripyClient, given: ClientOptions, flags: TopFlags): Promise<void> {
  // Without a reference, so that the program can end before the pause does.
  const pause = () => setTimeout(flags.interval, true, { ref: false });
  const sampler = new Sampler(client);
  const isPrinted = flags.once || given.json || terminalIsDumb();
  // The first statistics are what the second ones are compared with, and a server may refuse to give them.
  const first = await sampler.next();
  if (isPrinted) await printEach(sampler, pause, given.json ?? false, flags.once ?? false);
  else await redraw(sampler, pause, first, given.host);
}

/** Refuses what is meant for a terminal elsewhere. Throws `bad_config`. */
export function checkTop(given: ClientOptions, { once }: TopFlags): void {
  if (once || given.json || outputIsTerminal()) return;
  throw new VeripyError(
    "bad_config",
    "Cannot redraw a table: standard output is not a terminal. Print one table with --once, or a line for each module with --json.",
  );
}

/** Takes the statistics of a server, again and again. */
class Sampler {
  readonly #client: VeripyClient;
  #before: { stats: readonly ModuleStats[]; at: number } | undefined;

  constructor(client: VeripyClient) {
    this.#client = client;
  }

  /** What has happened since the last call. */
  async next(): Promise<TopRow[]> {
    const stats = await this.#client.stats();
    const at = performance.now();
    const { stats: before = [], at: since = at } = this.#before ?? {};
    this.#before = { stats, at };
    const row = (one: ModuleActivity) => ({ ...one, approval: approvalOf(one, this.#client.approvals) });
    return activityBetween(before, stats, at - since).map(row);
  }
}

/** Resolves after one interval. */
type Pause = () => Promise<boolean>;

const byCalls: TopOrder = { key: "c", isReversed: false };

async function printEach(sampler: Sampler, pause: Pause, json: boolean, once: boolean): Promise<void> {
  do {
    await pause();
    try {
      print(sortRows(await sampler.next(), byCalls), json);
    } catch (error) {
      if (once || !isTemporary(error)) throw error;
      note`${error.message}`;
    }
  } while (!once);
}

function print(rows: readonly TopRow[], json: boolean): void {
  // As for every list, the header is for people.
  if (!json) printAll(topTable(rows, outputColumns()).slice(outputIsTerminal() ? 0 : 1));
  else
    for (const { approval, ...row } of rows) {
      // `state` is that of the process.
      const { state, ...rest } = approvalJson(approval);
      printJson({ ...row, approval: state, ...rest });
    }
}

/** Resolves when a person leaves it. */
async function redraw(sampler: Sampler, pause: Pause, first: TopRow[], host: string): Promise<void> {
  const left = Promise.withResolvers<false>();
  let rows = first;
  let order = byCalls;
  let problem: string | undefined;
  const draw = () => screen.draw(frame(rows, order, problem, host, screen.columns));
  const screen = new Screen({
    onKey: (key) => {
      if (key === "\x03") leaveInterrupted();
      if (key === "q") left.resolve(false);
      order = orderAfter(order, key);
      draw();
    },
    onResize: draw,
  });
  try {
    draw();
    while (await Promise.race([left.promise, pause()])) {
      try {
        rows = await sampler.next();
        problem = undefined;
      } catch (error) {
        if (!isTemporary(error)) throw error;
        problem = messageOf(error);
      }
      draw();
    }
  } finally {
    screen.close();
  }
}

function orderAfter(order: TopOrder, key: string): TopOrder {
  if (key === "r") return { ...order, isReversed: !order.isReversed };
  return Object.hasOwn(sortOrders, key) ? { key: key as SortKey, isReversed: false } : order;
}

/** Everything on the screen: who is shown, the table, and below it what is wrong. */
function frame(
  rows: readonly TopRow[],
  order: TopOrder,
  problem: string | undefined,
  host: string,
  columns: number,
): Text[] {
  const calls = rows.reduce((sum, { callsPerSecond }) => sum + callsPerSecond, 0);
  const sorted = `${sortOrders[order.key].name}${order.isReversed ? ", reversed" : ""}`;
  const count = rows.filter(({ current }) => current).length;
  const title = `${host}  ${count} ${count === 1 ? "module" : "modules"}  ${calls.toFixed(0)} calls/s  by ${sorted}`;
  const state =
    problem === undefined
      ? cut(text`c calls/s  m memory  p p99  f in flight  n name  r reverse  q quit`, columns)
      : joined([styled("red", cut(text`${problem}`, columns).plain)]);
  return [cut(text`${title}`, columns), state, text``, ...topTable(sortRows(rows, order), columns)];
}

/** Whether the next attempt may succeed: the client connects again by itself. */
function isTemporary(error: unknown): error is VeripyError {
  const codes = ["unreachable", "timeout", "closed", "shutting_down", "busy"];
  return error instanceof VeripyError && codes.includes(error.code);
}
