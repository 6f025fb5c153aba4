import type { Command } from "commander";
import { execOn, type HostOutcome, VeripyError } from "../index.ts";
import { hostAndPort } from "./addresses.ts";
import { openClient, prepareConnections } from "./client-connection.ts";
import { type ClientOptions, optionsOf } from "./client-options.ts";
import { HostsOutput } from "./hosts-output.ts";
import { PendingNote } from "./pending-note.ts";
import { readArguments } from "./read-text.ts";
import { exitCodeFor, exitCodes } from "./ui.ts";

/** The flags of `exec` itself. */
export interface ExecFlags {
  stdin?: boolean;
  raw?: boolean;
  output?: string;
  quiet?: boolean;
  hosts?: string;
  mixed?: boolean;
  /** False with `--no-repeat`. */
  repeat: boolean;
}

/** From worst to best: nothing to trust, nothing reached, nothing to call, perhaps run, run in vain. */
const severity = [
  exitCodes.notVerified,
  exitCodes.notConnected,
  exitCodes.usage,
  exitCodes.timedOut,
  exitCodes.moduleFailed,
];

/** Runs a module on several hosts, and resolves with the exit code of the worst. */
export async function execOnHosts(
  hosts: readonly string[],
  command: Command,
  own: ExecFlags,
  mod: string,
  words: readonly string[],
): Promise<number> {
  if (own.raw || own.output !== undefined)
    throw new VeripyError(
      "bad_config",
      "--raw and --output are for one host: with several, each line names its host.",
    );
  const places = await Promise.all(
    hosts.map(async (host) => ({ host, given: await optionsOf(command, hostAndPort.parse(host)) })),
  );
  refuseSameServer(places);
  const [first] = places;
  if (first === undefined) return exitCodes.ok;
  const { json = false } = first.given;
  const args = own.stdin ? await readArguments() : words;
  const output = new HostsOutput(json);
  await prepareConnections(first.given);
  const pending = new Map<string, PendingNote>();
  const connections = places.map(({ host, given }) => ({
    host,
    timeoutMs: given.timeout,
    // Several questions at once would be a muddle: an unknown key is refused.
    connect: async () => {
      const client = await openClient(given, { reconnect: own.repeat, mayAsk: false });
      pending.set(host, new PendingNote(client, mod, host));
      return client;
    },
  }));
  const outcomes = await execOn(connections, mod, args, {
    repeat: own.repeat,
    mixed: own.mixed ?? false,
    onPart: (host, data) => {
      pending.get(host)?.say();
      output.part(host, data);
    },
    onOutcome: (outcome) => {
      if (hasRun(outcome)) pending.get(outcome.host)?.say();
      output.outcome(outcome);
    },
  });
  output.summary(outcomes);
  return worstOf(outcomes);
}

interface Place {
  readonly host: string;
  readonly given: ClientOptions;
}

/** Two names of one server would run the module twice there. */
function refuseSameServer(places: readonly Place[]): void {
  const hosts = new Map<string, string>();
  for (const { host, given } of places) {
    const address = `${given.host}:${given.port}`;
    const before = hosts.get(address);
    if (before !== undefined)
      throw new VeripyError("bad_config", `${before} and ${host} are the same server, ${address}.`);
    hosts.set(address, host);
  }
}

function hasRun(outcome: HostOutcome): boolean {
  return outcome.state === "done" || (outcome.state === "failed" && outcome.error.started !== false);
}

function worstOf(outcomes: readonly HostOutcome[]): number {
  const codes = outcomes.flatMap((one) => (one.state === "failed" ? [exitCodeFor(one.error)] : []));
  return severity.find((code) => codes.includes(code)) ?? exitCodes.ok;
}
