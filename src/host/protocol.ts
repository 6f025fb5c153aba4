import type { SpecifierSpan } from "../manifest/import-scan.ts";
import type { Permissions } from "../manifest/permissions.ts";

/**
 * What a server and a module host say to each other, as frames of the network protocol on a socket of their own:
 *
 *     server → host   host:prepare:0 {"root"}                 a module will follow, but not yet
 *                     host:load:0 {…LoadPayload}              once, before all that follow
 *                     host:client:N {"fingerprint","name"?}   the client that N in `exec` means from now on
 *                     host:exec:R {"args","client","ref"}     R is a decimal number of the server's, unique
 *                                                             among the calls in flight; "ref" is the client's
 *                     host:abort:R {"reason"}                 aborts the call's signal; its answer still comes
 *                     host:credit:R {"parts"}                 the host may send that many more parts
 *                     host:stop:0 {}                          end when the calls have ended
 *     host → server   host:ready:0 {"desc"?,"input"?,"limits"?,"permissions"?}   or
 *                     host:failed:0 {"error"}                 a sentence; the host then ends
 *                     host:part:R {"data"}
 *                     host:progress:R {"fraction"?,"message"?}
 *                     host:aborting:R {}                      the abort was seen: the event loop is not blocked
 *                     host:done:R {"result"}                  or
 *                     host:error:R {"code","error"}
 *                     host:log:R {"level","text"}             R is `-` outside of a call
 *                     host:fatal:0 {"error"}                  why the process is about to end
 *
 * The host runs a module's code, so the server trusts nothing of what it sends.
 */
export interface LoadPayload {
  readonly mod: string;
  readonly tree: string;
  /** See `ProcessTitle`. */
  readonly title: string;
  /** The path of `mods/` when it was read, for `import.meta.dir`. Nothing is read from there. */
  readonly root: string;
  /** Every file that may be loaded, by its path below `root`; the module itself is `mod`. */
  readonly files: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Where the files have specifiers for Bun's loader to read, by path. */
  readonly specifiers: Readonly<Record<string, readonly SpecifierSpan[]>>;
  readonly limits: HostLimits;
  /** What the process's sandbox allows; left out when it has none. */
  readonly permissions?: Permissions;
  /** How long calls may take to end after a stop, or after the server has hung up. */
  readonly killGraceMs: number;
}

export interface PreparePayload {
  /** The `LoadPayload.root` that is expected. */
  readonly root: string;
}

/** The limits that a host keeps itself; the server checks them again. */
export interface HostLimits {
  readonly maxResultBytes: number;
  readonly maxPartBytes: number;
  readonly maxLogLinesPerSecond: number;
}

export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

/** How many parts of one call, and characters in all, a host may send without new credit. */
export const partWindow = { parts: 32, bytes: 256 * 1024 } as const;

/** One log line, in UTF-16 units; a longer one is cut. */
export const maxLogLine = 8 * 1024;
/** An error text that crosses to the client. */
export const maxErrorText = 8 * 1024;
/** UTF-8 bytes of the message of a progress report. */
export const maxProgressBytes = 1024;
/** At most one progress report of a call in this time: the newest. */
export const progressEveryMs = 100;

/** The first argument that turns the executable into a module host. */
export const moduleHostArgument = "module-host";

/** The last argument of a host until it has a module: as long as a module's name with 16 digits of its tree may be. */
export const spareTitle = "spare".padEnd(255 + 1 + 16);

/** Cuts a text to `max` UTF-16 units and says that it did. */
export function clip(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max)}… (${text.length - max} more)`;
}
