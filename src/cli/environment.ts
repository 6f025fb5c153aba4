import { InvalidArgumentError } from "commander";

/**
 * The environment variables that the commands read themselves. Those that stand for a flag are read by commander:
 * see `options.ts`.
 */

/** The value of `VERIPY_JSON`. Throws if it is neither yes nor no. */
export function jsonVariable(): boolean {
  const value = process.env.VERIPY_JSON ?? "";
  if (/^(1|true|yes)$/i.test(value)) return true;
  if (/^(|0|false|no)$/i.test(value)) return false;
  throw new InvalidArgumentError(
    `VERIPY_JSON is '${value}'. It must be 1, true or yes; or 0, false, no or empty.`,
  );
}

/** Whether the terminal cannot move its cursor back within a line. */
export function terminalIsDumb(): boolean {
  return process.env.TERM === "dumb";
}

/** What systemd tells a service of `Type=notify`; see sd_notify(3) and sd_watchdog_enabled(3). */
export function systemdEnvironment(): { socket: string | undefined; watchdogUsec: string | undefined } {
  return { socket: process.env.NOTIFY_SOCKET, watchdogUsec: process.env.WATCHDOG_USEC };
}
