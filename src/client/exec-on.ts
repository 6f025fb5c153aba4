import { VeripyError } from "../base/errors.ts";
import { Gate } from "../base/semaphore.ts";
import type { VeripyClient } from "./client.ts";
import type { ExecOptions, ExecResult } from "./exec.ts";
import type { CallArguments } from "./module-calls.ts";

/** One of the servers that `execOn` calls. */
export interface ExecHost {
  /** What it is called in outcomes and errors. */
  readonly host: string;
  /** The call's deadline there, if it has one of its own. */
  readonly timeoutMs?: number;
  /** Called once. The client is closed by `execOn`. */
  connect(): Promise<VeripyClient>;
}

/** How a call went at one host. `not called`: the module has not run there, because of what was found at another host. */
export type HostOutcome =
  | { readonly host: string; readonly state: "done"; readonly result: ExecResult }
  | { readonly host: string; readonly state: "failed"; readonly error: VeripyError }
  | { readonly host: string; readonly state: "not called"; readonly tree: string };

export interface ExecOnOptions extends Pick<ExecOptions, "timeoutMs" | "signal" | "repeat"> {
  /** Calls the hosts that can be called, whatever version each of them runs. Default: false. */
  mixed?: boolean;
  /** The strings of a module that streams, in order for each host. */
  onPart?(host: string, data: string): void;
  /** Called with each outcome as soon as there is one. */
  onOutcome?(outcome: HostOutcome): void;
}

/** How many hosts are connected to, and then called, at a time. */
export const hostsAtOnce = 8;

interface ReadyHost {
  readonly host: string;
  readonly timeoutMs: number | undefined;
  readonly client: VeripyClient;
  /** What a call names. */
  readonly tree: string;
}

/**
 * Runs a module on several servers and resolves with the outcomes, in the order of `hosts`.
 *
 * First, every host is connected to, and the module verified there. Unless `mixed` is set, nothing is called anywhere when
 * one host fails at that, and the promise rejects with `version_mismatch` when they do not all run the same tree. Then each is
 * called with the tree that was verified.
 */
export async function execOn(
  hosts: readonly ExecHost[],
  mod: string,
  args: CallArguments = "",
  options: ExecOnOptions = {},
): Promise<HostOutcome[]> {
  const { mixed = false, signal, repeat, onPart, onOutcome = () => {} } = options;
  const clients: VeripyClient[] = [];
  const told = (outcome: HostOutcome): HostOutcome => {
    onOutcome(outcome);
    return outcome;
  };
  const prepare = async (to: ExecHost): Promise<ReadyHost | HostOutcome> => {
    const { host, timeoutMs = options.timeoutMs } = to;
    try {
      const client = await to.connect();
      clients.push(client);
      return { host, timeoutMs, client, tree: await client.prepare(mod, args) };
    } catch (error) {
      return told(failed(host, error));
    }
  };
  const call = async ({ host, timeoutMs, client, tree }: ReadyHost): Promise<HostOutcome> => {
    try {
      const result = await client.exec(mod, args, {
        tree,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        ...(signal === undefined ? {} : { signal }),
        ...(repeat === undefined ? {} : { repeat }),
        onPart: (data) => onPart?.(host, data),
      });
      return told({ host, state: "done", result });
    } catch (error) {
      return told(failed(host, error));
    }
  };
  try {
    const prepared = await atOnce(hosts, prepare);
    const ready = prepared.filter((one) => "client" in one);
    const mayCall = mixed || ready.length === prepared.length;
    if (mayCall && !mixed) refuseDifferentTrees(mod, ready);
    return await atOnce(prepared, async (one) => {
      if (!("client" in one)) return one;
      return mayCall ? call(one) : told({ host: one.host, state: "not called", tree: one.tree });
    });
  } finally {
    await Promise.all(clients.map((client) => client.approvals.settled()));
    for (const client of clients) client.close();
  }
}

/** Rejects, once every task has ended, with the first error of one. */
async function atOnce<T, R>(items: readonly T[], task: (item: T) => Promise<R>): Promise<R[]> {
  const gate = new Gate(hostsAtOnce);
  const tasks = items.map((item) => gate.run(() => task(item)));
  await Promise.allSettled(tasks);
  return Promise.all(tasks);
}

function failed(host: string, error: unknown): HostOutcome {
  if (!(error instanceof VeripyError)) throw error;
  return { host, state: "failed", error };
}

function refuseDifferentTrees(mod: string, ready: readonly ReadyHost[]): void {
  const byTree = Map.groupBy(ready, ({ tree }) => tree);
  if (byTree.size <= 1) return;
  const versions = [...byTree].map(([tree, at]) => `${tree} at ${at.map(({ host }) => host).join(", ")}`);
  throw new VeripyError(
    "version_mismatch",
    `The hosts run different versions of ${mod}: ${versions.join("; ")}. Nothing was called. To call each with its own version, add --mixed.`,
    { started: false },
  );
}
