import type { LogLevel } from "@logtape/logtape";
import { Command } from "commander";
import {
  type ConnectOptions,
  connect,
  join,
  loadIdentity,
  loadOrCreateIdentity,
  renewCertificate,
  rotateClientKey,
  type VeripyClient,
  type VeripyError,
  version,
  watchModules,
} from "../index.ts";
import { askServerKey } from "./ask.ts";
import { ClientOutput, nextKeyText } from "./client-output.ts";
import { hostAndPort, options, parsed } from "./config.ts";
import { readText } from "./input.ts";
import {
  configureLogs,
  exitCodes,
  note,
  print,
  printJson,
  refuseUnknownCommand,
  reportFailure,
} from "./ui.ts";

interface ClientOptions {
  host: string;
  port: number;
  certs: string;
  serverFingerprint?: string;
  json?: boolean;
  connectTimeout: number;
  timeout: number;
  logLevel?: LogLevel;
}

const help = `
Which server is accepted: the key of server.crt in the --certs folder if that is there; else the one that
known-servers.json there names for this host and port; else --server-fingerprint; else, on a terminal, you are asked.

Exit codes: 0 fine; 1 the module failed; 2 usage; 3 cannot connect or not accepted (either side);
4 verification failed; 5 timed out.`;

/** Runs `veripy-client` with the given arguments and resolves with its exit code. */
export async function runClientCommand(args: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.ok;
  let wantsJson = false;
  const program = withConnection(new Command("veripy-client"))
    .description("Lists, verifies and runs the modules of a VeriPy server.")
    .version(version, "--version", "print the version")
    .helpOption("--help", "print this page")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: print })
    .showHelpAfterError("Type 'veripy-client --help' for the list of commands and flags.")
    .addHelpText("after", help)
    .hook("preAction", (_, action) => {
      refuseUnknownCommand(action);
      wantsJson = optionsOf(action).json ?? false;
    });

  const command = (name: string, description: string) =>
    program.command(name).description(description).copyInheritedSettings(program);

  withConnection(program.command("watch", { isDefault: true }))
    .allowExcessArguments()
    .description("verify all modules, then stay and tell of every change (the default)")
    .action(async (_, self: Command) => {
      exitCode = await watch(optionsOf(self));
    });

  withConnection(command("list", "list the modules, without verifying them")).action(
    async (_, self: Command) => {
      const given = optionsOf(self);
      await using(given, async (client) => new ClientOutput(given.json).list([...client.reports.values()]));
    },
  );

  withConnection(command("verify", "fetch and verify modules; all, when none is named"))
    .argument("[mod...]")
    .action(async (mods: string[], _, self: Command) => {
      const given = optionsOf(self);
      await using(given, async (client) => {
        const verdicts = await Promise.all(
          mods.length === 0 ? [client.verifyAll()] : mods.map((mod) => client.verify(mod)),
        );
        const output = new ClientOutput(given.json);
        for (const verdict of verdicts.flat()) output.verdict(verdict, { full: true });
        if (verdicts.flat().some(({ verified }) => !verified)) exitCode = exitCodes.notVerified;
      });
    });

  withConnection(command("exec", "verify a module, run that very version, print its result"))
    .argument("<mod>", "'hello' may stand for 'hello.ts'")
    .argument("[args...]", "joined by spaces; everything after <mod> is the module's, flags too")
    .option("--stdin", "read the arguments from standard input")
    .addOption(options.timeout)
    .passThroughOptions()
    .action(async (mod: string, words: string[], own: { stdin?: boolean }, self: Command) => {
      const given = optionsOf(self);
      const text = own.stdin ? await readText("-") : words.join(" ");
      await using(given, async (client) => {
        const output = new ClientOutput(given.json);
        const result = await client.exec(mod, text, {
          timeoutMs: given.timeout,
          signal: interrupted(),
          onPart: (data) => output.part(data),
          onProgress: (progress) => output.progress(progress),
        });
        output.result(result);
      });
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
      else print(fingerprint);
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
      print(created ? `Made a key in ${given.certs}.` : "There was a key already; nothing was changed.");
      print(`\nOn the server, type:\n  veripy-server trust ${identity.fingerprint}`);
    });

  command("join", "redeem a code of 'veripy-server invite': both sides learn each other's key")
    .argument("<host>", "the server, or HOST:PORT", parsed(hostAndPort))
    .argument("<code>")
    .addOption(options.port)
    .addOption(options.certs)
    .addOption(options.connectTimeout)
    .addOption(options.json)
    .action(async (server: { host: string; port: number | undefined }, code: string, _, self: Command) => {
      const given = optionsOf(self);
      const { host, port = given.port } = server;
      const joined = await join({ host, port, certsDir: given.certs, code, timeoutMs: given.connectTimeout });
      if (given.json) {
        printJson(joined);
        return;
      }
      print(`Joined ${host}:${port}${joined.name === undefined ? "" : ` as ${joined.name}`}.`);
      print(`server key ${joined.server}\nclient key ${joined.client}`);
    });

  command("renew", "make a new certificate for this client's key; its fingerprint stays")
    .addOption(options.certs)
    .action(async (_, self: Command) => {
      const { fingerprint, notAfter } = await renewCertificate(optionsOf(self).certs, "client");
      print(`The certificate of ${fingerprint} is valid until ${notAfter.toISOString().slice(0, 10)}.`);
    });

  command("rotate", "make a new key and have the servers trust it in the place of the present one")
    .addOption(options.host)
    .addOption(options.port)
    .addOption(options.certs)
    .addOption(options.serverFingerprint)
    .addOption(options.connectTimeout)
    .addOption(options.json)
    .addHelpText("after", "\nWithout --host and --port, all servers in known-servers.json are told.")
    .action(async (_, self: Command) => {
      const given = optionsOf(self);
      const { serverFingerprint } = given;
      const rotation = await rotateClientKey({
        certsDir: given.certs,
        timeoutMs: given.connectTimeout,
        ...(isGiven(self, "host", "port") ? { servers: [{ host: given.host, port: given.port }] } : {}),
        ...(serverFingerprint === undefined ? {} : { serverFingerprint }),
      });
      new ClientOutput(given.json).rotated(rotation);
      if (!rotation.done) exitCode = exitCodes.notConnected;
    });

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
    .addOption(options.connectTimeout)
    .addOption(options.logLevel)
    .addOption(options.json);
}

/** A command's options; what was not given behind its name may have been given before it. */
function optionsOf(command: Command): ClientOptions {
  const given: Record<string, unknown> = { ...command.parent?.opts() };
  for (const [name, value] of Object.entries(command.opts())) {
    if (given[name] === undefined || command.getOptionValueSource(name) === "cli") given[name] = value;
  }
  // Each field was parsed by its own schema, in config.ts.
  return given as unknown as ClientOptions;
}

/** Whether one of these options came from the command line or the environment. */
function isGiven(command: Command, ...names: string[]): boolean {
  return names.some((name) =>
    [command, command.parent].some((one) => {
      const source = one?.getOptionValueSource(name);
      return source !== undefined && source !== "default";
    }),
  );
}

async function open(given: ClientOptions, reconnect: boolean): Promise<VeripyClient> {
  if (given.logLevel !== undefined) await configureLogs({ level: given.logLevel, json: given.json ?? false });
  const connectOptions: ConnectOptions = {
    host: given.host,
    port: given.port,
    certsDir: given.certs,
    timeoutMs: given.connectTimeout,
    reconnect,
  };
  if (given.serverFingerprint !== undefined) connectOptions.serverFingerprint = given.serverFingerprint;
  if (process.stdin.isTTY && process.stderr.isTTY && !given.json) {
    connectOptions.confirmServer = (fingerprint) => askServerKey(`${given.host}:${given.port}`, fingerprint);
  }
  return connect(connectOptions);
}

async function using(
  given: ClientOptions,
  use: (client: VeripyClient) => Promise<void> | void,
): Promise<void> {
  const client = await open(given, false);
  client.on("news", (news) => {
    if (news.kind === "rotate") note(nextKeyText(news.fingerprint));
    else if (news.kind === "rotate_refused") note(news.error);
  });
  try {
    await use(client);
  } finally {
    client.close();
  }
}

async function watch(given: ClientOptions): Promise<number> {
  const client = await open(given, true);
  const output = new ClientOutput(given.json);
  output.connected(`${given.host}:${given.port}`, client.serverFingerprint);
  const closed = new Promise<VeripyError>((resolve) => client.once("closed", resolve));
  interrupted().addEventListener("abort", () => client.close());
  await watchModules(client, (event) => output.event(event));
  const reason = await closed;
  if (reason.code !== "closed") throw reason;
  return exitCodes.ok;
}

/** Aborted by the first SIGINT or SIGTERM; a second one ends the process at once. */
function interrupted(): AbortSignal {
  const controller = new AbortController();
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(code);
      controller.abort();
    });
  }
  return controller.signal;
}
