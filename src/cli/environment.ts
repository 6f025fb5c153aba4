import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { VeripyError } from "../index.ts";

/**
 * The environment variables that the commands read themselves. Those that stand for a flag are read by commander:
 * see `options.ts`.
 */

/** The value of `VERIPY_JSON`; undefined if it is not set. Throws if it is neither yes nor no. */
export function jsonVariable(): boolean | undefined {
  return yesOrNo("VERIPY_JSON");
}

/** The value of `VERIPY_LOCKED`; undefined if it is not set. Throws if it is neither yes nor no. */
export function lockedVariable(): boolean | undefined {
  return yesOrNo("VERIPY_LOCKED");
}

function yesOrNo(name: string): boolean | undefined {
  const value = process.env[name];
  if (value === undefined) return undefined;
  if (/^(1|true|yes)$/i.test(value)) return true;
  if (/^(|0|false|no)$/i.test(value)) return false;
  throw new VeripyError(
    "bad_config",
    `${name} is '${value}'. It must be 1, true or yes; or 0, false, no or empty.`,
  );
}

/** The variables of two flags, for completion, which does not parse the command line. Empty values count as not set. */
export function pathVariables(): { home: string | undefined; certs: string | undefined } {
  return { home: process.env.VERIPY_HOME || undefined, certs: process.env.VERIPY_CERTS || undefined };
}

/** The folder of a user's settings, as the XDG Base Directory Specification has it. */
export function configFolder(): string {
  const folder = process.env.XDG_CONFIG_HOME ?? "";
  return isAbsolute(folder) ? folder : join(homedir(), ".config");
}

/** Whether the terminal cannot move its cursor back within a line. */
export function terminalIsDumb(): boolean {
  return process.env.TERM === "dumb";
}

/** The first folder that systemd made for the service's state; undefined when there is none. See systemd.exec(5). */
export function stateDirectory(): string | undefined {
  return process.env.STATE_DIRECTORY?.split(":").find((folder) => isAbsolute(folder));
}

/** What systemd tells a service of `Type=notify`; see sd_notify(3) and sd_watchdog_enabled(3). */
export function systemdEnvironment(): { socket: string | undefined; watchdogUsec: string | undefined } {
  return { socket: process.env.NOTIFY_SOCKET, watchdogUsec: process.env.WATCHDOG_USEC };
}
