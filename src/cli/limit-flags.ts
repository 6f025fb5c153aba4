import { type Command, Option } from "commander";
import { defaultLimits, type Limits } from "../index.ts";
import { count, duration, minutes, parsed, size } from "./flag-values.ts";
import { formatters } from "./setting-rows.ts";

const kinds = { duration, minutes, size, count };
type Kind = keyof typeof kinds;

type LimitFlag = readonly [flag: string, kind: Kind, text: string];

/** Every limit has a flag: the compiler refuses a limit without one. `null` marks a client's own limit. */
const limitFlags: Record<keyof Limits, LimitFlag | null> = {
  handshakeMs: ["handshake-timeout", "duration", "time from connecting to the end of the TLS handshake"],
  firstRequestMs: ["first-request-timeout", "duration", "time from the handshake to the first request"],
  idleMs: ["idle-timeout", "duration", "silence before a client is disconnected; pongs count"],
  maxLineBytes: ["max-line", "size", "size of one request"],
  maxAnswerLineBytes: null,
  maxRequestsInFlight: ["max-requests", "count", "calls in flight per connection"],
  maxQueuedBytes: ["max-queued", "size", "output queued for a client that does not read"],
  maxConnections: ["max-connections", "count", "connections in total"],
  maxConnectionsPerKey: ["max-connections-per-key", "count", "connections per key"],
  maxHandshakes: ["max-handshakes", "count", "unfinished handshakes in total"],
  maxHandshakesPerAddress: ["max-handshakes-per-address", "count", "unfinished handshakes per address"],
  handshakesPerSecond: ["handshake-rate", "count", "handshakes per second from one address"],
  handshakeBurst: ["handshake-burst", "count", "handshakes at once from one address"],
  rotationsPerMinute: ["rotation-rate", "count", "next keys that one key may announce per minute"],
  shutdownMs: ["shutdown-timeout", "duration", "time for calls in flight to finish when the server stops"],
  maxFileBytes: ["max-file", "size", "size of one module file"],
  maxTreeBytes: ["max-tree", "size", "size of a module with everything it imports"],
  maxTreeFiles: ["max-tree-files", "count", "files per module"],
  maxModules: ["max-modules", "count", "modules in mods/"],
  loadMs: ["load-timeout", "duration", "time to load a module"],
  execMs: ["exec-timeout", "duration", "longest time a call may take"],
  killGraceMs: ["kill-grace", "duration", "time from a call's abort signal until its process is killed"],
  maxCallsInFlight: ["max-calls", "count", "calls in flight per module"],
  maxCallsQueued: ["max-queue", "count", "calls queued per module"],
  maxQueuedArgsBytes: ["max-queue-bytes", "size", "arguments queued per module"],
  maxResultBytes: ["max-result", "size", "size of one result"],
  maxPartBytes: ["max-part", "size", "size of one streamed part"],
  maxModuleMemoryBytes: ["module-memory", "size", "memory of a module's process; 0 for no limit"],
  maxLogLinesPerSecond: ["max-log-rate", "count", "log lines per second from one module"],
  retain: ["retain", "count", "older versions to keep for clients that pinned them"],
  maxRetainedBytes: ["max-retained", "size", "size of the older versions of all modules together"],
  drainMs: ["drain-timeout", "duration", "time for calls in flight on a replaced version to finish"],
  idleStopMs: ["idle-stop", "minutes", "idle time before a module's process is stopped; 0 for never"],
  resident: ["resident", "count", "idle processes to keep; the least recently used ones end first"],
};

const flags = (Object.entries(limitFlags) as [keyof Limits, LimitFlag | null][]).flatMap(([limit, flag]) =>
  flag === null ? [] : [{ limit, name: flag[0], kind: flag[1], text: flag[2] }],
);

/** The default of the limit that a flag sets; undefined for any other flag. */
export function limitDefault(option: Option): number | undefined {
  const flag = flags.find(({ name }) => name === option.name());
  return flag && defaultLimits[flag.limit];
}

/** The limits that apply when a module is loaded. */
export const loadLimits: ReadonlySet<keyof Limits> = new Set<keyof Limits>([
  "maxFileBytes",
  "maxTreeBytes",
  "maxTreeFiles",
  "loadMs",
  "maxModuleMemoryBytes",
]);

/**
 * Adds a flag for each limit, in a group of their own on the help page. Flags that are not `listed` are accepted too,
 * so that a command takes the same flags as `start`, but the help page leaves them out.
 */
export function addLimitFlags(command: Command, listed?: ReadonlySet<keyof Limits>): Command {
  for (const { limit, name, kind, text } of flags) {
    command.addOption(
      new Option(`--${name} <${kind}>`, `${text} (default: ${formatters[kind](defaultLimits[limit])})`)
        .argParser(parsed(kinds[kind]))
        .helpGroup("Limits:")
        .hideHelp(listed?.has(limit) === false),
    );
  }
  return command;
}

/** The limits among a command's parsed options. */
export function limitsFrom(options: Record<string, unknown>): Partial<Limits> {
  const limits: Partial<Limits> = {};
  for (const { limit, name } of flags) {
    const value = options[camelCase(name)];
    if (typeof value === "number") limits[limit] = value;
  }
  return limits;
}

function camelCase(flag: string): string {
  return flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
