import { resolve } from "node:path";
import type { Command } from "commander";
import {
  beginServerRotation,
  findSystemUser,
  finishServerRotation,
  initServer,
  loadIdentity,
  parseAssertions,
  readTrustedKeys,
  renewCertificate,
  systemdUnit,
  testPolicy,
} from "../index.ts";
import { addCatalogueCommand } from "./catalogue-command.ts";
import { addCheckCommand } from "./check-command.ts";
import { runProgram } from "./command-line.ts";
import { addCompletionCommand } from "./completion/completion-command.ts";
import { addDoctorCommand } from "./doctor-command.ts";
import { addLimitFlags } from "./limit-flags.ts";
import { options } from "./options.ts";
import { readText } from "./read-text.ts";
import { addRetireCommand } from "./retire-command.ts";
import { addConfigCommand } from "./server-config-command.ts";
import { addSettingsFile } from "./server-settings.ts";
import { type StartOptions, start as startServer } from "./server-start.ts";
import { addTypesCommand } from "./server-types.ts";
import { addSignCommand } from "./sign-command.ts";
import { styled } from "./text.ts";
import { addTrustCommands } from "./trust-commands.ts";
import { exitCodes, note, print, printData, printJson } from "./ui.ts";

const help = `
Exit codes: 0 success, or stopped normally; 1 a check or a policy test failed, the output could not be written, or an
internal error; 2 wrong usage, configuration or key files; 130 stopped at once by a second SIGINT (Ctrl-C), 143 by a
second SIGTERM.`;

/** Runs `veripy-server` with the given arguments and resolves with its exit code. */
export function runServerCommand(args: readonly string[]): Promise<number> {
  const description = "Serves the modules of a folder to clients whose keys are trusted.";
  const completion = { defaultCommand: "start", hosts: async () => [], modules: async () => [] };
  return runProgram({ name: "veripy-server", description, help, addCommands, completion }, args);
}

function addCommands(program: Command, setExitCode: (code: number) => void): void {
  const start = addStartFlags(program.command("start", { isDefault: true }))
    .allowExcessArguments()
    .description("serve the modules (the default; 'veripy-server start --help' lists its flags)")
    .action(async (given: StartOptions) => {
      await startServer(given);
    });

  program
    .command("init")
    .description("create keys, certificates, trusted-keys.json and a first module, if they do not exist")
    .addOption(options.mods)
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(init);

  addTrustCommands(program);
  addRetireCommand(program);
  addSignCommand(program);
  addCatalogueCommand(program, setExitCode);

  program
    .command("fingerprint")
    .description("print the SHA-256 of this server's public key")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (given: StartOptions) => {
      const { fingerprint } = await loadIdentity(given.certs, "server");
      if (given.json) printJson({ fingerprint });
      else print`${fingerprint}`;
    });

  program
    .command("renew")
    .description("create a new certificate for the same key; the fingerprint does not change")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (given: StartOptions) => {
      const { fingerprint, notAfter } = await renewCertificate(given.certs, "server");
      if (given.json) printJson({ fingerprint, notAfter: notAfter.toISOString() });
      else print`The certificate of ${fingerprint} is valid until ${notAfter.toISOString().slice(0, 10)}.`;
    });

  program
    .command("rotate")
    .description(
      "create this server's next key, which it announces to its clients, signed by the current key",
    )
    .option("--finish", "change to the next key, preferably when all clients know it")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (given: StartOptions & { finish?: boolean }) => {
      if (given.finish) await finishRotation(given);
      else await beginRotation(given);
    });

  addCheckCommand(program, setExitCode);

  program
    .command("policy")
    .description("check what clients may do")
    .command("test")
    .description("check assertions against the trust file: 'alice may exec deploy.ts', 'bob may not sync'")
    .argument("<file>", "one assertion per line; - is standard input")
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(async (file: string, given: StartOptions) => {
      setExitCode(await testPolicyFile(file, given));
    });

  program
    .command("unit")
    .description("print a hardened systemd unit for a server in this folder")
    .addOption(options.user)
    .addOption(options.interface)
    .addOption(options.listenPort)
    .action((given: UnitFlags, self: Command) => printUnit(given, self));

  addTypesCommand(program);
  addDoctorCommand(program);
  addConfigCommand(program, start, addStartFlags);
  addSettingsFile(program, start);
  addCompletionCommand(program);
}

function addStartFlags(command: Command): Command {
  command
    .addOption(options.interface)
    .addOption(options.listenPort)
    .addOption(options.mods)
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.catalogue)
    .addOption(options.catalogueSigners)
    .addOption(options.catalogueSigner)
    .addOption(options.catalogueName)
    .addOption(options.minSerial)
    .addOption(options.state)
    .addOption(options.logLevel)
    .addOption(options.json)
    .addOption(options.logCalls)
    .addOption(options.metrics)
    .addOption(options.audit)
    .addOption(options.auditRequired)
    .addOption(options.auditMaxSize)
    .addOption(options.auditKeep)
    .addOption(options.eager)
    .addOption(options.moduleUser)
    .addOption(options.moduleEnv)
    .addOption(options.moduleCgroup)
    .addOption(options.sandbox);
  return addLimitFlags(command);
}

async function init(given: StartOptions): Promise<void> {
  const { made, server, client } = await initServer({
    modsDir: given.mods,
    certsDir: given.certs,
    trustedKeysPath: given.trustedKeys,
  });
  if (given.json) {
    printJson({ made, server: server.fingerprint, client: client.fingerprint });
    return;
  }
  for (const what of made) print`created ${what}`;
  if (made.length === 0) print`Everything already exists; nothing was changed.`;
  print`\nserver key ${server.fingerprint}\nclient key ${client.fingerprint}`;
  print`\nNext, in two terminals:\n  veripy-server\n  veripy-client`;
}

async function beginRotation({ certs, json }: StartOptions): Promise<void> {
  const rotation = await beginServerRotation(certs);
  if (json) {
    printJson(rotation);
    return;
  }
  print`The next key is ${rotation.new}.`;
  print`A running server announces it to its clients within a second. Its log names each client that knows it.`;
  print`When all of them do, change to it:\n  veripy-server rotate --finish`;
}

async function finishRotation({ certs, json }: StartOptions): Promise<void> {
  const fingerprint = await finishServerRotation(certs);
  if (json) {
    printJson({ fingerprint });
    return;
  }
  print`This server's key is now ${fingerprint}; the previous key is kept as server.key.old.`;
  print`A running server changes to it within a second; clients stay connected. Clients that have not learned the new key`;
  print`refuse it until you give them the fingerprint, or invite them.`;
}

async function testPolicyFile(file: string, given: StartOptions): Promise<number> {
  const keys = await readTrustedKeys(given.trustedKeys);
  const results = testPolicy(keys, parseAssertions(await readText(file)));
  const failed = results.filter(({ holds }) => !holds);
  if (given.json) {
    for (const { assertion, holds, because } of results) printJson({ ...assertion, holds, because });
  } else {
    for (const { assertion, because } of failed) {
      print`${styled("red", "FAILED")}  line ${assertion.line}: ${assertion.text}  (${because})`;
    }
    print`${results.length - failed.length} of ${results.length} assertions hold.`;
  }
  return failed.length === 0 ? exitCodes.ok : exitCodes.moduleFailed;
}

interface UnitFlags {
  user: string;
  interface: string;
  port: number;
  config?: string;
}

async function printUnit(
  { user, interface: address, port, config }: UnitFlags,
  self: Command,
): Promise<void> {
  // Only a warning: the unit may be for another machine, or the user may be created later.
  await findSystemUser(user).catch(() => {
    note`warning: /etc/passwd has no user '${user}'. Create it before you start the unit: useradd --system ${user}`;
  });
  const place = { executable: process.execPath, directory: process.cwd() };
  // What the settings file says is left there: in the unit, it would win over later changes of the file.
  const isInFile = (name: string) => self.getOptionValueSource(name) === "config";
  const args = [
    ...(config === undefined ? [] : ["--config", resolve(config)]),
    ...(isInFile("interface") ? [] : ["--interface", address]),
    ...(isInFile("port") ? [] : ["--port", String(port)]),
  ];
  printData(systemdUnit({ ...place, user, args, port }));
}
