import type { LogLevel } from "@logtape/logtape";
import type { Command } from "commander";
import { certsFolder, findHome, VeripyError } from "../index.ts";
import type { HostAndPort } from "./addresses.ts";
import type { ServerKeyFlags } from "./ask-server-key.ts";
import { configFolder, lockedVariable } from "./environment.ts";
import { options } from "./options.ts";

/** The flags of a client's command, parsed. Which of them are there depends on the command. */
export interface ClientOptions extends ServerKeyFlags {
  home: string;
  certs: string;
  /** As given: `findLock` says which lock that is. */
  lock?: string | false;
  locked: boolean;
  connectTimeout: number;
  keepalive: number;
  timeout: number;
  logLevel?: LogLevel;
}

/** Adds the flags of a connection. They may stand before or after a command's name, so the program has them too. */
export function addConnectionFlags(command: Command): Command {
  return command
    .addOption(options.host)
    .addOption(options.port)
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.lock)
    .addOption(options.noLock)
    .addOption(options.locked)
    .addOption(options.serverFingerprint)
    .addOption(options.remember)
    .addOption(options.noRemember)
    .addOption(options.connectTimeout)
    .addOption(options.keepalive)
    .addOption(options.logLevel)
    .addOption(options.json);
}

/**
 * A command's options: a flag after its name wins over the same flag before it. The port of a HOST:PORT, in `--host`
 * or in `server` (an argument of the command), wins over the default one. Throws `bad_config` when `--port` contradicts it.
 */
export async function optionsOf(command: Command, server?: HostAndPort): Promise<ClientOptions> {
  const given: Record<string, unknown> = { ...command.parent?.opts() };
  for (const [name, value] of Object.entries(command.opts())) {
    if (given[name] === undefined || command.getOptionValueSource(name) === "cli") given[name] = value;
  }
  // A key that is in the environment is there next time too, so there is nothing to remember.
  if (sourceOf(command, "serverFingerprint") === "env") given.remember ??= false;
  const { host, port: hostPort } = server ?? (given.host as HostAndPort);
  const port = portOf(hostPort, given.port as number, {
    host: server === undefined ? sourceOf(command, "host") : "cli",
    port: sourceOf(command, "port"),
  });
  const home = await findHome(given.home as string | undefined, configFolder());
  const certs = given.certs ?? certsFolder(home);
  const locked = lockedFrom(given.locked === true, given.lock === false);
  // Each field was parsed by its own schema, in `options.ts`.
  return { ...given, host, port, home, certs, locked } as unknown as ClientOptions;
}

/** A flag wins over the variable, so that `--no-lock` does not mind `VERIPY_LOCKED`. */
function lockedFrom(isLocked: boolean, isWithoutLock: boolean): boolean {
  if (isLocked && isWithoutLock)
    throw new VeripyError(
      "bad_config",
      "--locked needs a lock, and --no-lock says to use none. Give one of them.",
    );
  return isLocked || (!isWithoutLock && (lockedVariable() ?? false));
}

/** Whether one of these options came from the command line or the environment. */
export function isGiven(command: Command, ...names: string[]): boolean {
  return names.some((name) => sourceOf(command, name) !== "default");
}

type Source = "cli" | "env" | "default";

/** A flag wins over a variable, and the port of HOST:PORT over the default; two flags, or two variables, must agree. */
function portOf(hostPort: number | undefined, port: number, from: { host: Source; port: Source }): number {
  if (hostPort === undefined || hostPort === port) return port;
  if (from.port === "default" || (from.host === "cli" && from.port === "env")) return hostPort;
  if (from.host === "env" && from.port === "cli") return port;
  throw new VeripyError(
    "bad_config",
    from.port === "cli"
      ? `The host says port ${hostPort}, but --port says ${port}. Give only one of them.`
      : `VERIPY_HOST says port ${hostPort}, but VERIPY_PORT says ${port}. Set only one of them.`,
  );
}

/** Where an option's value came from. The command line, before or after the command's name, comes first. */
function sourceOf(command: Command, name: string): Source {
  const sources = [command, command.parent].map((one) => one?.getOptionValueSource(name));
  return (["cli", "env"] as const).find((source) => sources.includes(source)) ?? "default";
}
