import type { LogLevel } from "@logtape/logtape";
import type { Command } from "commander";
import { certsFolder, didYouMean, findHome, VeripyError } from "../index.ts";
import type { HostAndPort } from "./addresses.ts";
import type { ServerKeyFlags } from "./ask-server-key.ts";
import { readClientSettings } from "./client-settings.ts";
import { configFolder, lockedVariable } from "./environment.ts";
import { options } from "./options.ts";
import type { Settings } from "./settings-file.ts";

/** The flags of a client's command, parsed. Which of them are there depends on the command. */
export interface ClientOptions extends ServerKeyFlags {
  home: string;
  certs: string;
  /** As given: `findLock` says which lock that is. */
  lock?: string | false;
  locked: boolean;
  signers?: string;
  signer?: string;
  /** For an error: names of the settings file that are like the host. */
  hostHint: string;
  connectTimeout: number;
  keepalive: number;
  timeout: number;
  logLevel?: LogLevel;
  verbose?: boolean;
  /** The settings of the file that are in use, and their places: `timeout (veripy.toml:3)`. */
  fromFile: readonly string[];
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
    .addOption(options.signers)
    .addOption(options.signer)
    .addOption(options.serverFingerprint)
    .addOption(options.remember)
    .addOption(options.noRemember)
    .addOption(options.connectTimeout)
    .addOption(options.keepalive)
    .addOption(options.logLevel)
    .addOption(options.verbose)
    .addOption(options.json);
}

/** A command's options, and where each comes from: a flag, a variable, a line of the settings file, or `default`. */
export interface ResolvedOptions {
  readonly options: ClientOptions;
  /** The server as it was named, which `options` has the host and port of. */
  readonly hostName: string;
  readonly settingsFile: string;
  readonly addressOrigin: string;
  /** By the option's name. */
  originOf(name: string): string;
}

/** The options alone, for a command that needs no more. */
export async function optionsOf(command: Command, server?: HostAndPort): Promise<ClientOptions> {
  return (await resolveOptions(command, server)).options;
}

/**
 * A flag after a command's name wins over the same flag before it, a flag over its variable, and a variable over the
 * settings file. The server is `server`, an argument of the command, or `--host`: a name of the settings file, or else a
 * host. Throws `bad_config` when `--port` contradicts a HOST:PORT.
 */
export async function resolveOptions(
  command: Command,
  server?: HostAndPort,
  readSettings = readClientSettings,
): Promise<ResolvedOptions> {
  const given: Record<string, unknown> = { ...command.parent?.opts() };
  for (const [name, value] of Object.entries(command.opts())) {
    if (given[name] === undefined || command.getOptionValueSource(name) === "cli") given[name] = value;
  }
  const home = await findHome(given.home as string | undefined, configFolder());
  const file = await readSettings(home);
  const flagSource = server === undefined ? sourceOf(command, "host", noSettings) : "cli";
  const { defaultHost } = file;
  const hostSource = flagSource === "default" && defaultHost !== undefined ? "file" : flagSource;
  const asked = server ?? ((hostSource === "file" ? defaultHost?.value : given.host) as HostAndPort);
  const named = asked.port === undefined ? file.hosts.get(asked.host) : undefined;

  const settings: Settings = new Map([...file.common, ...(named?.settings ?? [])]);
  const source = (name: string): Source => sourceOf(command, name, settings);
  for (const [name, { value }] of settings) if (source(name) === "file") given[name] = value;
  // A key that stands in the environment or in a file is there next time too, so there is nothing to remember.
  if (["env", "file"].includes(source("serverFingerprint"))) given.remember ??= false;

  const address = (named?.address.value as HostAndPort | undefined) ?? asked;
  const ports = { host: hostSource, port: source("port") };
  const port = portOf(address.port, given.port as number, ports);
  // Each field was parsed by its own schema, in `options.ts`.
  const options = {
    ...given,
    host: address.host,
    port,
    home,
    certs: given.certs ?? certsFolder(home),
    locked: lockedFrom(command, given, settings),
    fromFile: [
      ...(named === undefined ? [] : [`host ${asked.host} (${named.address.place})`]),
      ...[...settings].flatMap(([name, { place }]) => (source(name) === "file" ? `${name} (${place})` : [])),
    ],
    hostHint:
      named === undefined && asked.port === undefined ? didYouMean(asked.host, file.hosts.keys()) : "",
  } as unknown as ClientOptions;

  const originOf = (name: string): string => {
    if (name === "host")
      return hostSource === "file" ? (defaultHost?.place ?? "") : flagText(command, name, hostSource);
    const origin = source(name);
    return origin === "file" ? (settings.get(name)?.place ?? "") : flagText(command, name, origin);
  };
  const addressOrigin =
    address.port === undefined || (address.port !== port && ports.port !== "default")
      ? originOf("port")
      : (named?.address.place ?? originOf("host"));
  return { options, hostName: asked.host, settingsFile: file.file, addressOrigin, originOf };
}

/** Whether one of these options came from the command line or the environment. */
export function isGiven(command: Command, ...names: string[]): boolean {
  return names.some((name) => sourceOf(command, name, noSettings) !== "default");
}

const noSettings: Settings = new Map();

/** From the weakest to the strongest. */
const sources = ["default", "file", "env", "cli"] as const;
type Source = (typeof sources)[number];

/** Of a port and the port of HOST:PORT, the one from the stronger source; from the same source they must agree. */
function portOf(hostPort: number | undefined, port: number, from: { host: Source; port: Source }): number {
  if (hostPort === undefined || hostPort === port || from.port === "default") return hostPort ?? port;
  const stronger = sources.indexOf(from.host) - sources.indexOf(from.port);
  if (stronger !== 0) return stronger > 0 ? hostPort : port;
  throw new VeripyError(
    "bad_config",
    from.port === "cli"
      ? `The host says port ${hostPort}, but --port says ${port}. Give only one of them.`
      : `VERIPY_HOST says port ${hostPort}, but VERIPY_PORT says ${port}. Set only one of them.`,
  );
}

/** `--no-lock` wins over everything but `--locked` beside it, which contradicts it. */
function lockedFrom(command: Command, given: Record<string, unknown>, settings: Settings): boolean {
  const source = sourceOf(command, "locked", settings);
  if (given.lock === false && source === "cli") {
    throw new VeripyError(
      "bad_config",
      "--locked needs a lock, and --no-lock says to use none. Give only one of them.",
    );
  }
  if (given.lock === false) return false;
  return source === "env" ? lockedVariable() === true : given.locked === true;
}

/** Where an option's value came from. The command line, before or after the command's name, comes first. */
function sourceOf(command: Command, name: string, settings: Settings): Source {
  const found = [command, command.parent].map((one) => one?.getOptionValueSource(name));
  if (found.includes("cli")) return "cli";
  if (found.includes("env") || (name === "locked" && lockedVariable() !== undefined)) return "env";
  return settings.has(name) ? "file" : "default";
}

/** The flag or the variable that an option came from. */
function flagText(command: Command, name: string, source: Source): string {
  const declared = [command, command.parent].flatMap((one) => one?.options ?? []);
  const options = declared.filter((option) => option.attributeName() === name);
  if (source === "env") return options.find(({ envVar }) => envVar)?.envVar ?? `VERIPY_${name.toUpperCase()}`;
  if (source !== "cli") return "default";
  const isNegated = [command, command.parent].some((one) => one?.opts()[name] === false);
  return options.find(({ negate }) => negate === isNegated)?.long ?? "";
}
