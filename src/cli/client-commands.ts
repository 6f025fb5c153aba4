import type { LogLevel } from "@logtape/logtape";
import { Command } from "commander";
import {
  checkClientFiles,
  connect,
  didYouMean,
  join,
  loadIdentity,
  loadOrCreateIdentity,
  renewCertificate,
  rotateClientKey,
  type VeripyClient,
  VeripyError,
  watchModules,
} from "../index.ts";
import { type ServerKeyFlags, serverKeyOptions } from "./ask-server-key.ts";
import { ClientOutput, nextKeyText } from "./client-output.ts";
import { addPinCommands } from "./client-pin-commands.ts";
import { addVersionFlags, applyJsonVariable, asksForJson, refuseUnknownCommand } from "./command-line.ts";
import { type HostAndPort, hostAndPort, moduleName, options, parsed } from "./config.ts";
import { ExecOutput } from "./exec-output.ts";
import { configureLogs } from "./logs.ts";
import { readArguments } from "./read-text.ts";
import { commanderOutput, exitCodes, note, print, printJson, reportFailure, reportUncaught } from "./ui.ts";
import { verifyModules } from "./verify-command.ts";

interface ClientOptions extends ServerKeyFlags {
  certs: string;
  connectTimeout: number;
  keepalive: number;
  timeout: number;
  logLevel?: LogLevel;
  /** No flag: `exec` sets it. */
  reconnect?: boolean;
}

interface ExecFlags {
  stdin?: boolean;
  raw?: boolean;
  output?: string;
  /** False with `--no-repeat`. */
  repeat: boolean;
}

const help = `
Which server is accepted: the key of server.crt in the --certs folder if that is there; else the one that
known-servers.json there names for this host and port; else --server-fingerprint; else, on a terminal, you are asked.
A key that --server-fingerprint names is kept only after asking, or with --remember.

Exit codes: 0 fine; 1 the module failed, its call could not be carried out, or the output could not be written;
2 usage, configuration, own keys, or no such module; 3 cannot connect or not accepted (either side); 4 verification
failed; 5 timed out; 130 ended by SIGINT (Ctrl-C), 143 by SIGTERM.`;

/** Runs `veripy-client` with the given arguments and resolves with its exit code. */
export async function runClientCommand(args: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.ok;
  let wantsJson = false;
  reportUncaught(() => wantsJson);
  const program = withConnection(new Command("veripy-client"))
    .description("Lists, verifies and runs the modules of a VeriPy server.")
    .helpOption("-h, --help", "print this page")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput(commanderOutput(() => wantsJson))
    .showHelpAfterError("Type 'veripy-client --help' for the list of commands and flags.")
    .addHelpText("after", help)
    .hook("preAction", (_, action) => {
      wantsJson = applyJsonVariable(action);
      refuseUnknownCommand(program, action, wantsJson);
    });

  const command = (name: string, description: string) =>
    program.command(name).description(description).copyInheritedSettings(program);

  withConnection(program.command("watch", { isDefault: true }))
    .allowExcessArguments()
    .description("verify all modules, then stay and tell of every change (the default)")
    .action(async (_, self: Command) => {
      await watch(optionsOf(self));
    });

  withConnection(command("list", "list the modules, without verifying them")).action(
    async (_, self: Command) => {
      const given = optionsOf(self);
      await using(given, async (client) => new ClientOutput(given.json).list([...client.reports.values()]));
    },
  );

  withConnection(command("verify", "fetch and verify modules; all, when none is named"))
    .argument("[mod...]", "'hello' may stand for 'hello.ts'", (text, before?: string[]) => [
      ...(before ?? []),
      parsed(moduleName)(text),
    ])
    .action(async (mods: string[], _, self: Command) => {
      const given = optionsOf(self);
      await usingModules(given, mods, async (client) => {
        exitCode = await verifyModules(client, mods, given.json ?? false);
      });
    });

  withConnection(command("exec", "verify a module, run that very version, print its result"))
    .argument("<mod>", "'hello' may stand for 'hello.ts'", parsed(moduleName))
    .argument("[args...]", "joined by spaces; everything after <mod> is the module's, flags too")
    .option("--stdin", "read the arguments from standard input")
    .option("--raw", "print results exactly as received: control characters included, no newline added")
    .option("-o, --output <file>", "write them to a file, exactly as received; - is standard output")
    .option(
      "--no-repeat",
      "fail at once when the server is busy, stopping or gone before the module has started",
    )
    .addOption(options.timeout)
    .passThroughOptions()
    .action(async (mod: string, words: string[], own: ExecFlags, self: Command) => {
      const given = optionsOf(self);
      const text = own.stdin ? await readArguments() : words.join(" ");
      const output = await ExecOutput.open({ json: given.json, raw: own.raw, output: own.output });
      try {
        // Another connection serves a call that was never sent; one that may have started is not made again.
        await usingModules({ ...given, reconnect: own.repeat }, [mod], async (client) => {
          const result = await client.exec(mod, text, {
            timeoutMs: given.timeout,
            repeat: own.repeat,
            onPart: (data) => output.part(data),
            onProgress: (progress) => output.progress(progress),
          });
          await output.result(result);
        });
      } finally {
        output.close();
      }
    });

  withConnection(
    command("modules", "show what the server's modules do: process, memory, calls, times"),
  ).action(async (_, self: Command) => {
    const given = optionsOf(self);
    await using(given, async (client) => new ClientOutput(given.json).stats(await client.stats()));
  });

  command("fingerprint", "print the SHA-256 of this client's public key")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (_, self: Command) => {
      const given = optionsOf(self);
      const { fingerprint } = await loadIdentity(given.certs, "client");
      if (given.json) printJson({ fingerprint });
      else print`${fingerprint}`;
    });

  command("init", "make a key and a certificate for this client, if there is none")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (_, self: Command) => {
      const given = optionsOf(self);
      const { identity, created } = await loadOrCreateIdentity(given.certs, "client");
      if (given.json) {
        printJson({ fingerprint: identity.fingerprint, created });
        return;
      }
      if (created) print`Made a key in ${given.certs}.`;
      else print`There was a key already; nothing was changed.`;
      print`\nOn the server, type:\n  veripy-server trust ${identity.fingerprint}`;
    });

  command("join", "redeem a code of 'veripy-server invite': both sides learn each other's key")
    .argument("<host>", "the server, or HOST:PORT", parsed(hostAndPort))
    .argument("<code>")
    .addOption(options.port)
    .addOption(options.certs)
    .addOption(options.connectTimeout)
    .addOption(options.json)
    .action(async (server: HostAndPort, code: string, _, self: Command) => {
      const given = optionsOf(self, server);
      const { host, port } = given;
      const joined = await join({ host, port, certsDir: given.certs, code, timeoutMs: given.connectTimeout });
      const { client, server: serverKey, name, alreadyTrusted } = joined;
      if (given.json) {
        printJson({
          client,
          server: serverKey,
          name,
          already_trusted: alreadyTrusted,
          code_spent: !alreadyTrusted,
        });
        return;
      }
      const as = name === undefined ? "" : ` as ${name}`;
      if (alreadyTrusted)
        print`This client is already trusted${as} by ${host}:${port}. The code was not spent.`;
      else print`Joined ${host}:${port}${as}. The code is spent.`;
      print`server key ${serverKey}\nclient key ${client}`;
    });

  command("renew", "make a new certificate for this client's key; its fingerprint stays")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (_, self: Command) => {
      const given = optionsOf(self);
      const { fingerprint, notAfter } = await renewCertificate(given.certs, "client");
      if (given.json) printJson({ fingerprint, notAfter: notAfter.toISOString() });
      else print`The certificate of ${fingerprint} is valid until ${notAfter.toISOString().slice(0, 10)}.`;
    });

  command("rotate", "make a new key and have the servers trust it in the place of the present one")
    .addOption(options.host)
    .addOption(options.port)
    .addOption(options.certs)
    .addOption(options.serverFingerprint)
    .addOption(options.remember)
    .addOption(options.noRemember)
    .addOption(options.connectTimeout)
    .addOption(options.json)
    .addHelpText("after", "\nWithout --host and --port, all servers in known-servers.json are told.")
    .action(async (_, self: Command) => {
      const given = optionsOf(self);
      const rotation = await rotateClientKey({
        certsDir: given.certs,
        timeoutMs: given.connectTimeout,
        ...(isGiven(self, "host", "port") ? { servers: [{ host: given.host, port: given.port }] } : {}),
        ...serverKeyOptions(given),
      });
      for (const { rememberedIn } of rotation.servers) noteRemembered(rememberedIn);
      new ClientOutput(given.json).rotated(rotation);
      if (!rotation.done) exitCode = exitCodes.notConnected;
    });

  addPinCommands(command, optionsOf);

  addVersionFlags(program);
  wantsJson = asksForJson(program, args);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    return reportFailure(error, wantsJson);
  }
  return exitCode;
}

/** The same flags before and after a command's name; both orders are what people type. */
function withConnection(command: Command): Command {
  return command
    .addOption(options.host)
    .addOption(options.port)
    .addOption(options.certs)
    .addOption(options.serverFingerprint)
    .addOption(options.remember)
    .addOption(options.noRemember)
    .addOption(options.connectTimeout)
    .addOption(options.keepalive)
    .addOption(options.logLevel)
    .addOption(options.json);
}

/**
 * A command's options; what was not given behind its name may have been given before it. A host with a port, also as
 * an argument of the command, decides the port. Throws `bad_config` when `--port` says otherwise.
 */
function optionsOf(command: Command, server?: HostAndPort): ClientOptions {
  const given: Record<string, unknown> = { ...command.parent?.opts() };
  for (const [name, value] of Object.entries(command.opts())) {
    if (given[name] === undefined || command.getOptionValueSource(name) === "cli") given[name] = value;
  }
  // What is in the environment is remembered there.
  if (sourceOf(command, "serverFingerprint") === "env") given.remember ??= false;
  const { host, port: hostPort } = server ?? (given.host as HostAndPort);
  const port = portOf(hostPort, given.port as number, {
    host: server === undefined ? sourceOf(command, "host") : "cli",
    port: sourceOf(command, "port"),
  });
  // Each field was parsed by its own schema, in config.ts.
  return { ...given, host, port } as unknown as ClientOptions;
}

/** A flag comes before a variable, the port of a host before the default; two flags, or two variables, must agree. */
function portOf(hostPort: number | undefined, port: number, from: { host: Source; port: Source }): number {
  if (hostPort === undefined || hostPort === port) return port;
  if (from.port === "default" || (from.host === "cli" && from.port === "env")) return hostPort;
  if (from.host === "env" && from.port === "cli") return port;
  throw new VeripyError(
    "bad_config",
    from.port === "cli"
      ? `The host says port ${hostPort}, --port says ${port}. Leave out one of the two.`
      : `VERIPY_HOST says port ${hostPort}, VERIPY_PORT says ${port}. Leave out one of the two.`,
  );
}

type Source = "cli" | "env" | "default";

/** Where an option's value is from: the command line, before or behind the command's name, comes first. */
function sourceOf(command: Command, name: string): Source {
  const sources = [command, command.parent].map((one) => one?.getOptionValueSource(name));
  return (["cli", "env"] as const).find((source) => sources.includes(source)) ?? "default";
}

/** Whether one of these options came from the command line or the environment. */
function isGiven(command: Command, ...names: string[]): boolean {
  return names.some((name) => sourceOf(command, name) !== "default");
}

async function open(given: ClientOptions, reconnect: boolean): Promise<VeripyClient> {
  if (given.logLevel !== undefined) await configureLogs({ level: given.logLevel, json: given.json ?? false });
  for (const warning of await checkClientFiles(given.certs)) note`${warning}`;
  const client = await connect({
    host: given.host,
    port: given.port,
    certsDir: given.certs,
    timeoutMs: given.connectTimeout,
    keepaliveMs: given.keepalive,
    reconnect,
    ...serverKeyOptions(given),
  });
  noteRemembered(client.rememberedIn);
  return client;
}

function noteRemembered(file: string | undefined): void {
  if (file !== undefined) note`Kept the server's key in ${file}.`;
}

async function using(
  given: ClientOptions,
  use: (client: VeripyClient) => Promise<void> | void,
): Promise<void> {
  const client = await open(given, given.reconnect ?? false);
  client.on("news", (news) => {
    if (news.kind === "rotate") note`${nextKeyText(news.fingerprint)}`;
    else if (news.kind === "rotate_refused") note`${news.error}`;
  });
  try {
    await use(client);
  } finally {
    client.close();
  }
}

/** The same for modules that a person has named: one that is not there may be a typing error. */
function usingModules(
  given: ClientOptions,
  mods: readonly string[],
  use: (client: VeripyClient) => Promise<void>,
): Promise<void> {
  return using(given, async (client) => {
    try {
      await use(client);
    } catch (error) {
      if (!(error instanceof VeripyError) || error.code !== "not_found") throw error;
      const names = [...client.reports.keys()];
      const suggestions = mods.filter((mod) => !names.includes(mod)).map((mod) => didYouMean(mod, names));
      const message = [error.message, ...suggestions].join(" ").trimEnd();
      throw new VeripyError("not_found", message, { cause: error });
    }
  });
}

/** Stays until a signal ends the program. Rejects when the connection ends for good. */
async function watch(given: ClientOptions): Promise<never> {
  const client = await open(given, true);
  const output = new ClientOutput(given.json);
  output.connected(`${given.host}:${given.port}`, client.serverFingerprint);
  const closed = new Promise<VeripyError>((resolve) => client.once("closed", resolve));
  await watchModules(client, (event) => output.event(event));
  throw await closed;
}
