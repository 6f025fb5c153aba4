import { isIPv6 } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { defaultLimits, type Limits } from "../index.ts";

/**
 * Flags and environment variables as validated options. This is the only place where `process.env` is read,
 * and commander does the reading: a flag wins over its variable.
 */

/** An argument parser for commander that says what a good value looks like. */
export function parsed<T>(schema: z.ZodType<T>): (text: string) => T {
  return (text) => {
    const result = schema.safeParse(text);
    if (result.success) return result.data;
    throw new InvalidArgumentError(`${result.error.issues[0]?.message ?? "It cannot be used."}`);
  };
}

const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `It must be a whole number from ${min} to ${max}.`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `It must be a whole number from ${min} to ${max}.`);

export const port = wholeNumber(0, 65_535);
export const count = wholeNumber(0, 1_000_000_000);

const durationUnits: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** `500ms`, `30s`, `10m`, `2h`, `7d`; a bare number is of the given unit. Gives milliseconds. */
const durationIn = (unit: "s" | "m") =>
  z
    .string()
    .regex(/^\d{1,9}(\.\d{1,3})?(ms|s|m|h|d)?$/, "It must be a duration like 500ms, 30s, 10m or 2h.")
    .transform((text) =>
      Math.round(Number.parseFloat(text) * (durationUnits[/[a-z]+$/.exec(text)?.[0] ?? unit] ?? 1)),
    );
export const duration = durationIn("s");
/** Of something that must happen. A timer of the runtime has 31 bits. */
const deadline = duration.refine((ms) => ms >= 1 && ms < 2 ** 31, "It must be from 1ms to 24d.");

const sizeUnits: Record<string, number> = { "": 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };
/** `65536`, `64KiB`, `1MiB`, `2GiB`. Gives bytes. */
export const size = z
  .string()
  .regex(/^\d{1,12}([KMG]iB)?$/i, "It must be a size like 65536, 64KiB, 1MiB or 2GiB.")
  .transform((text) => {
    const unit = /[a-z]+$/i.exec(text)?.[0] ?? "";
    return Number.parseInt(text, 10) * (sizeUnits[unit.toLowerCase()] ?? 1);
  });

const kinds = { duration, minutes: durationIn("m"), size, count };

interface LimitFlag {
  readonly flag: string;
  readonly kind: keyof typeof kinds;
  readonly text: string;
}

/** Every limit has a flag: the compiler refuses a limit without one. `null`: a client's own, not the server's. */
const limitFlags: Record<keyof Limits, LimitFlag | null> = {
  handshakeMs: {
    flag: "handshake-timeout",
    kind: "duration",
    text: "from connecting to a finished TLS handshake",
  },
  firstRequestMs: {
    flag: "first-request-timeout",
    kind: "duration",
    text: "from the handshake to the first request",
  },
  idleMs: { flag: "idle-timeout", kind: "duration", text: "silence before a client is cut off; pongs count" },
  maxLineBytes: { flag: "max-line", kind: "size", text: "one request" },
  maxAnswerLineBytes: null,
  maxRequestsInFlight: { flag: "max-requests", kind: "count", text: "calls in flight of one connection" },
  maxQueuedBytes: {
    flag: "max-queued",
    kind: "size",
    text: "output waiting for a client that does not read",
  },
  maxConnections: { flag: "max-connections", kind: "count", text: "clients in all" },
  maxConnectionsPerKey: { flag: "max-connections-per-key", kind: "count", text: "connections of one key" },
  maxHandshakes: { flag: "max-handshakes", kind: "count", text: "unfinished handshakes in all" },
  maxHandshakesPerAddress: {
    flag: "max-handshakes-per-address",
    kind: "count",
    text: "unfinished handshakes of one address",
  },
  handshakesPerSecond: { flag: "handshake-rate", kind: "count", text: "handshakes a second of one address" },
  handshakeBurst: { flag: "handshake-burst", kind: "count", text: "handshakes at once of one address" },
  rotationsPerMinute: {
    flag: "rotation-rate",
    kind: "count",
    text: "next keys that one key may announce a minute",
  },
  shutdownMs: { flag: "shutdown-timeout", kind: "duration", text: "calls in flight when the server stops" },
  maxFileBytes: { flag: "max-file", kind: "size", text: "one module file" },
  maxTreeBytes: { flag: "max-tree", kind: "size", text: "a module with all it imports" },
  maxTreeFiles: { flag: "max-tree-files", kind: "count", text: "files of one module" },
  maxModules: { flag: "max-modules", kind: "count", text: "modules in mods/" },
  loadMs: { flag: "load-timeout", kind: "duration", text: "loading of a module" },
  execMs: { flag: "exec-timeout", kind: "duration", text: "ceiling on one call" },
  killGraceMs: {
    flag: "kill-grace",
    kind: "duration",
    text: "from a call's abort signal to the end of its process",
  },
  maxCallsInFlight: { flag: "max-calls", kind: "count", text: "calls in flight of one module" },
  maxCallsQueued: { flag: "max-queue", kind: "count", text: "calls waiting for one module" },
  maxQueuedArgsBytes: { flag: "max-queue-bytes", kind: "size", text: "arguments waiting for one module" },
  maxResultBytes: { flag: "max-result", kind: "size", text: "one result" },
  maxPartBytes: { flag: "max-part", kind: "size", text: "one streamed part" },
  maxModuleMemoryBytes: {
    flag: "module-memory",
    kind: "size",
    text: "memory of a module's process, 0 for no limit",
  },
  maxLogLinesPerSecond: { flag: "max-log-rate", kind: "count", text: "log lines a second of one module" },
  retain: { flag: "retain", kind: "count", text: "versions kept beside the current one" },
  drainMs: { flag: "drain-timeout", kind: "duration", text: "calls in flight of a replaced version" },
  idleStopMs: {
    flag: "idle-stop",
    kind: "minutes",
    text: "idle time before a module's process stops, 0 for never",
  },
};

/** The limits that loading a module depends on. */
export const loadLimits: ReadonlySet<keyof Limits> = new Set<keyof Limits>([
  "maxFileBytes",
  "maxTreeBytes",
  "maxTreeFiles",
  "loadMs",
  "maxModuleMemoryBytes",
]);

/**
 * Adds one flag for each limit, in their own group of the help page. Those that are not among `listed` are accepted, so
 * that the flags of a start can be given as they are, but the help page leaves them out.
 */
export function addLimitFlags(command: Command, listed?: ReadonlySet<keyof Limits>): Command {
  for (const [limit, spec] of Object.entries(limitFlags) as [keyof Limits, LimitFlag | null][]) {
    if (spec === null) continue;
    const value = defaultLimits[limit];
    const shown = formatters[spec.kind](value);
    const option = new Option(`--${spec.flag} <${spec.kind}>`, `${spec.text} (default: ${shown})`)
      .argParser(parsed(kinds[spec.kind]))
      .helpGroup("Limits:")
      .hideHelp(listed?.has(limit) === false);
    command.addOption(option);
  }
  return command;
}

const formatters = {
  minutes: (ms: number) => `${ms / 60_000}`,
  duration: (ms: number) => (ms % 60_000 === 0 && ms > 0 ? `${ms / 60_000}m` : `${ms / 1_000}s`),
  size: (bytes: number) =>
    bytes % 1024 ** 2 === 0 && bytes > 0 ? `${bytes / 1024 ** 2}MiB` : `${bytes / 1024}KiB`,
  count: (value: number) => String(value),
};

/** The limits among a command's parsed options. */
export function limitsFrom(options: Record<string, unknown>): Partial<Limits> {
  const limits: Partial<Limits> = {};
  for (const [limit, spec] of Object.entries(limitFlags) as [keyof Limits, LimitFlag | null][]) {
    const value = spec === null ? undefined : options[camelCase(spec.flag)];
    if (typeof value === "number") limits[limit] = value;
  }
  return limits;
}

function camelCase(flag: string): string {
  return flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** `9100` or `127.0.0.1:9100` or `[::1]:9100`; loopback unless told otherwise. */
export const endpoint = z
  .string()
  .regex(/^(?:(?:\[[0-9a-f:.]+\]|[^:\s[\]]+):)?\d{1,5}$/i, "It must be PORT or HOST:PORT.")
  .transform((text) => {
    const colon = text.lastIndexOf(":");
    const hostname = colon < 0 ? "127.0.0.1" : text.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
    return { hostname, port: Number(text.slice(colon + 1)) };
  })
  .refine((value) => value.port <= 65_535, "The port must be at most 65535.");

export interface HostAndPort {
  /** An IPv6 address is in brackets, so that `host:port` is one thing. */
  readonly host: string;
  readonly port: number | undefined;
}

/** `server.example`, `server.example:9443`, `[::1]:9443`, and `::1` without a port. */
export const hostAndPort = z
  .string()
  .transform((text) => (isIPv6(text) ? `[${text}]` : text))
  .refine(
    (text) => isIPv6(/^\[(.*)\](?::\d+)?$/.exec(text)?.[1] ?? "") || /^[^:\s[\]/@]+(:\d+)?$/.test(text),
    "It must be HOST or HOST:PORT, with an IPv6 address in brackets, as in [::1]:9443.",
  )
  .transform((text): HostAndPort => {
    const [, host = "", port] = /^(.*?)(?::(\d+))?$/.exec(text) ?? [];
    return { host, port: port === undefined ? undefined : Number(port) };
  })
  .refine(
    (value) => (value.port ?? 1) >= 1 && (value.port ?? 1) <= 65_535,
    "The port must be from 1 to 65535.",
  );

/** Whether the terminal can't go back in a line. */
export function terminalIsDumb(): boolean {
  return process.env.TERM === "dumb";
}

/** Where something is to listen: whether this machine has the address shows when it is tried. */
const listenAddress = z
  .string()
  .refine(
    (text) => isIPv6(text.replace(/^\[(.*)\]$/, "$1")) || /^[^:\s[\]/]+$/.test(text),
    "It must be an address or a name of this machine; --port gives the port.",
  );

/** As useradd(8) and systemd take it, or a number. */
const userName = z
  .string()
  .regex(
    /^([A-Za-z_][A-Za-z0-9_-]{0,30}|\d{1,10})$/,
    "It must be a user's name (letters, digits, - and _, at most 31) or a number.",
  );

/** A module's name: what the protocol can carry. */
export const moduleName = z
  .string()
  .min(1, "It must not be empty.")
  .max(255, "It must have at most 255 characters.");

/** What `VERIPY_JSON` says. Throws for what is neither yes nor no. */
export function jsonVariable(): boolean {
  const value = process.env.VERIPY_JSON ?? "";
  if (/^(1|true|yes)$/i.test(value)) return true;
  if (/^(|0|false|no)$/i.test(value)) return false;
  throw new InvalidArgumentError(
    `VERIPY_JSON is '${value}'. It must be 1, true or yes; or 0, false, no or empty.`,
  );
}

/** What systemd tells a service of `Type=notify`; see sd_notify(3) and sd_watchdog_enabled(3). */
export function systemdEnvironment(): { socket: string | undefined; watchdogUsec: string | undefined } {
  return { socket: process.env.NOTIFY_SOCKET, watchdogUsec: process.env.WATCHDOG_USEC };
}

export const options = {
  interface: new Option("-i, --interface <address>", "address to listen on; localhost is IPv4 and IPv6")
    .argParser(parsed(listenAddress))
    .default("localhost")
    .env("VERIPY_INTERFACE"),
  listenPort: new Option("-p, --port <number>", "port to listen on; 0 picks a free one")
    .argParser(parsed(port))
    .default(8443)
    .env("VERIPY_PORT"),
  mods: new Option("--mods <folder>", "folder of the modules").default("./mods").env("VERIPY_MODS"),
  certs: new Option("--certs <folder>", "folder of keys and certificates")
    .default("./certs")
    .env("VERIPY_CERTS"),
  trustedKeys: new Option("--trusted-keys <file>", "the clients that are trusted")
    .default("./trusted-keys.json")
    .env("VERIPY_TRUSTED_KEYS"),
  moduleUser: new Option("--module-user <user>", "run modules as this user (name or UID:GID); needs root")
    .helpGroup("Modules:")
    .env("VERIPY_MODULE_USER"),
  moduleEnv: new Option("--module-env <name...>", "let modules see these environment variables")
    .helpGroup("Modules:")
    .default([] as string[], "PATH, HOME, LANG, TZ and TMPDIR only"),
  moduleCgroup: new Option("--module-cgroup <folder>", "run modules in this cgroup (Linux)").helpGroup(
    "Modules:",
  ),
  audit: new Option(
    "--audit <file>",
    "write down who did what, one JSON object a line; refusals go to FILE.refused",
  ).helpGroup("Operation:"),
  auditRequired: new Option(
    "--audit-required",
    "run nothing while the audit log cannot be written",
  ).helpGroup("Operation:"),
  auditMaxSize: new Option("--audit-max-size <size>", "begin a new audit file at this size (default: 64MiB)")
    .argParser(parsed(size))
    .helpGroup("Operation:"),
  auditKeep: new Option("--audit-keep <count>", "older audit files to keep (default: 5)")
    .argParser(parsed(wholeNumber(1, 1_000)))
    .helpGroup("Operation:"),
  logCalls: new Option(
    "--log-calls",
    "log each call: who, which module, which version, how it ended",
  ).helpGroup("Operation:"),
  metrics: new Option(
    "--metrics <[host:]port>",
    "serve /metrics, /healthz and /readyz; on loopback unless told",
  )
    .argParser(parsed(endpoint))
    .helpGroup("Operation:"),
  logLevel: new Option("--log-level <level>", "how much to log")
    .choices(["trace", "debug", "info", "warning", "error", "fatal"])
    .env("VERIPY_LOG_LEVEL"),
  // Commander takes any value of a flag's variable for yes: see `jsonVariable`.
  json: new Option("--json", "one JSON object a line instead of text (env: VERIPY_JSON)"),
  expires: new Option("--expires <duration>", "how long the code is good")
    .argParser(parsed(duration.refine((ms) => ms > 0 && ms <= 7 * 86_400_000, "It must be at most 7d.")))
    .default(600_000, "10m"),
  host: new Option("-H, --host <host[:port]>", "the server")
    .argParser(parsed(hostAndPort))
    .default({ host: "localhost", port: undefined } satisfies HostAndPort, "localhost")
    .env("VERIPY_HOST"),
  port: new Option("-p, --port <number>", "the server's port")
    .argParser(parsed(wholeNumber(1, 65_535)))
    .default(8443)
    .env("VERIPY_PORT"),
  user: new Option("--user <user>", "the user that it runs as").argParser(parsed(userName)).default("veripy"),
  serverFingerprint: new Option("--server-fingerprint <hex>", "SHA-256 of the server's public key").env(
    "VERIPY_SERVER_FINGERPRINT",
  ),
  remember: new Option(
    "--remember",
    "keep the key of --server-fingerprint in known-servers.json, without asking",
  ),
  noRemember: new Option("--no-remember", "do not ask whether to keep it"),
  timeout: new Option("--timeout <duration>", "deadline of a call")
    .argParser(parsed(deadline))
    .default(30_000, "30s"),
  connectTimeout: new Option(
    "--connect-timeout <duration>",
    "deadline of connecting and of every other request",
  )
    .argParser(parsed(deadline))
    .default(10_000, "10s"),
  keepalive: new Option("--keepalive <duration>", "ping a server that is silent for this long")
    .argParser(parsed(duration.refine((ms) => ms >= 100, "It must be at least 100ms.")))
    .default(20_000, "20s")
    .env("VERIPY_KEEPALIVE"),
};
