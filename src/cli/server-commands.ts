import type { LogLevel } from "@logtape/logtape";
import { Command } from "commander";
import {
  addTrustedKey,
  initServer,
  loadIdentity,
  loadOrCreateIdentity,
  parseFingerprint,
  removeTrustedKey,
  renewCertificate,
  serve,
  type VeripyServer,
  version,
} from "../index.ts";
import { addLimitFlags, limitsFrom, options } from "./config.ts";
import { configureLogs, exitCodes, note, print, printJson, reportFailure, styled } from "./ui.ts";

interface StartOptions extends Record<string, unknown> {
  interface: string;
  port: number;
  mods: string;
  certs: string;
  trustedKeys: string;
  logLevel?: LogLevel;
  json?: boolean;
}

/** Runs `veripy-server` with the given arguments and resolves with its exit code. */
export async function runServerCommand(args: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const program = new Command("veripy-server")
    .description("Serves the modules of a folder to clients whose keys are trusted.")
    .version(version, "--version", "print the version")
    .helpOption("--help", "print this page")
    .exitOverride()
    .showHelpAfterError("Type 'veripy-server --help' for the list of commands and flags.")
    .addHelpText(
      "after",
      "\nExit codes: 0 stopped in order; 1 something failed while running; 2 usage, configuration or keys; 3 cannot listen.",
    );

  const start = addLimitFlags(
    program.command("start", { isDefault: true }).description("serve the modules (the default)"),
  )
    .addOption(options.interface)
    .addOption(options.listenPort)
    .addOption(options.mods)
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.logLevel)
    .addOption(options.json)
    .action(async (given: StartOptions) => {
      await configureLogs({ level: given.logLevel ?? "info", json: given.json ?? false });
      exitCode = await run(given);
    });
  void start;

  program
    .command("init")
    .description("make keys, certificates, trusted-keys.json and a first module, whatever is missing")
    .addOption(options.mods)
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(async (given: StartOptions) => {
      const { made, server, client } = await initServer({
        modsDir: given.mods,
        certsDir: given.certs,
        trustedKeysPath: given.trustedKeys,
      });
      if (given.json) {
        printJson({ made, server: server.fingerprint, client: client.fingerprint });
        return;
      }
      for (const what of made) print(`made ${what}`);
      if (made.length === 0) print("Everything was there already; nothing was changed.");
      print(`server ${server.fingerprint}`);
      print(`client ${client.fingerprint}`);
      print("\nNext, in two terminals:\n  veripy-server\n  veripy-client");
    });

  program
    .command("trust")
    .description("trust a client's key")
    .argument("<fingerprint>", "as 'veripy-client fingerprint' prints it")
    .option("--name <name>", "a name for logs and for 'untrust'")
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(async (text: string, given: StartOptions & { name?: string }) => {
      const fingerprint = parseFingerprint(text);
      const { changed } = await addTrustedKey(
        given.trustedKeys,
        fingerprint,
        given.name === undefined ? {} : { name: given.name },
      );
      if (given.json) printJson({ fingerprint, changed });
      else
        print(
          changed ? `Trusted ${fingerprint}.` : `${fingerprint} was trusted already; nothing was changed.`,
        );
    });

  program
    .command("untrust")
    .description("trust a client's key no more; its connections are closed within a second")
    .argument("<fingerprint|name>")
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(async (who: string, given: StartOptions) => {
      const { changed } = await removeTrustedKey(given.trustedKeys, who);
      if (given.json) printJson({ who, changed });
      else
        print(changed ? `${who} is not trusted any more.` : `${who} was not trusted; nothing was changed.`);
    });

  program
    .command("fingerprint")
    .description("print the SHA-256 of this server's public key")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (given: StartOptions) => {
      const { fingerprint } = await loadIdentity(given.certs, "server");
      if (given.json) printJson({ fingerprint });
      else print(fingerprint);
    });

  program
    .command("renew")
    .description("make a new certificate for this server's key; its fingerprint stays")
    .addOption(options.certs)
    .action(async (given: StartOptions) => {
      const { fingerprint, notAfter } = await renewCertificate(given.certs, "server");
      print(`The certificate of ${fingerprint} is valid until ${notAfter.toISOString().slice(0, 10)}.`);
    });

  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    return reportFailure(error, args.includes("--json"));
  }
  return exitCode;
}

async function run(given: StartOptions): Promise<number> {
  const { created } = await loadOrCreateIdentity(given.certs, "server");
  if (created) note(`Made a key for this server in ${given.certs}.`);
  const server = await serve({
    hostname: given.interface,
    port: given.port,
    modsDir: given.mods,
    certsDir: given.certs,
    trustedKeysPath: given.trustedKeys,
    limits: limitsFrom(given),
  });
  await signalled(server);
  return exitCodes.ok;
}

/** The first SIGINT or SIGTERM stops the server in order; a second one ends the process at once. */
function signalled(server: VeripyServer): Promise<void> {
  return new Promise((resolve, reject) => {
    let isStopping = false;
    const stop = (signal: NodeJS.Signals) => {
      if (isStopping) process.exit(signal === "SIGINT" ? 130 : 143);
      isStopping = true;
      if (process.stderr.isTTY) note(styled("gray", "Stopping; once more to stop at once."));
      server.stop().then(resolve, reject);
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
}
