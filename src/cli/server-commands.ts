import { Command } from "commander";
import {
  checkModules,
  findSystemUser,
  initServer,
  loadIdentity,
  loadNextIdentity,
  parseAssertions,
  prepareNextIdentity,
  readTrustedKeys,
  renewCertificate,
  resumeSwap,
  swapIdentity,
  systemdUnit,
  testPolicy,
  VeripyError,
} from "../index.ts";
import { addVersionFlags, applyJsonVariable, asksForJson, refuseUnknownCommand } from "./command-line.ts";
import { addLimitFlags, limitsFrom, loadLimits, options } from "./config.ts";
import { readText } from "./read-text.ts";
import { type StartOptions, start } from "./server-start.ts";
import { addTypesCommand } from "./server-types.ts";
import { indented, styled } from "./text.ts";
import { addTrustCommands } from "./trust-commands.ts";
import {
  commanderOutput,
  exitCodes,
  note,
  print,
  printData,
  printJson,
  reportFailure,
  reportUncaught,
} from "./ui.ts";

const help = `
Exit codes: 0 stopped in order, or done; 1 a check or a policy test failed, the output could not be written, or a fault
while running; 2 usage, configuration or keys; 130 stopped at once by a second SIGINT (Ctrl-C), 143 by a second SIGTERM.`;

/** Runs `veripy-server` with the given arguments and resolves with its exit code. */
export async function runServerCommand(args: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.ok;
  let wantsJson = false;
  reportUncaught(() => wantsJson);
  const program = new Command("veripy-server")
    .description("Serves the modules of a folder to clients whose keys are trusted.")
    .helpOption("-h, --help", "print this page")
    .exitOverride()
    .configureOutput(commanderOutput(() => wantsJson))
    .showHelpAfterError("Type 'veripy-server --help' for the list of commands and flags.")
    .addHelpText("after", help)
    .hook("preAction", (_, action) => {
      wantsJson = applyJsonVariable(action);
      refuseUnknownCommand(program, action, wantsJson);
    });

  addStartFlags(program.command("start", { isDefault: true }))
    .allowExcessArguments()
    .description("serve the modules (the default; 'veripy-server start --help' lists its flags)")
    .action(async (given: StartOptions) => {
      await start(given);
    });

  program
    .command("init")
    .description("make keys, certificates, trusted-keys.json and a first module, whatever is missing")
    .addOption(options.mods)
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(init);

  addTrustCommands(program);

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
    .description("make a new certificate for this server's key; its fingerprint stays")
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
      "make a new key for this server, which it announces to its clients, signed by the present one",
    )
    .option("--finish", "change to the new key, at best when all clients know of it")
    .addOption(options.certs)
    .addOption(options.json)
    .action(async (given: StartOptions & { finish?: boolean }) => {
      if (given.finish) await finishRotation(given);
      else await beginRotation(given);
    });

  addLimitFlags(program.command("check"), loadLimits)
    .description("load modules as the server would, and print what is wrong with them")
    .argument("[mod...]", "names, or paths of files; all, when none is named")
    .addOption(options.mods)
    .addOption(options.json)
    .action(async (mods: string[], given: StartOptions) => {
      exitCode = await check(mods, given);
    });

  program
    .command("policy")
    .description("check who may do what")
    .command("test")
    .description("hold assertions against the trust file: 'alice may exec deploy.ts', 'bob may not sync'")
    .argument("<file>", "one assertion a line; - is standard input")
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(async (file: string, given: StartOptions) => {
      exitCode = await testPolicyFile(file, given);
    });

  program
    .command("unit")
    .description("print a hardened systemd unit for a server in this folder")
    .addOption(options.user)
    .addOption(options.interface)
    .addOption(options.listenPort)
    .action((given: { user: string; interface: string; port: number }) => printUnit(given));

  addTypesCommand(program);

  addVersionFlags(program);
  wantsJson = asksForJson(program, args);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    return reportFailure(error, wantsJson);
  }
  return exitCode;
}

function addStartFlags(command: Command): Command {
  command
    .addOption(options.interface)
    .addOption(options.listenPort)
    .addOption(options.mods)
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.logLevel)
    .addOption(options.json)
    .addOption(options.logCalls)
    .addOption(options.metrics)
    .addOption(options.audit)
    .addOption(options.auditRequired)
    .addOption(options.auditMaxSize)
    .addOption(options.auditKeep)
    .addOption(options.moduleUser)
    .addOption(options.moduleEnv)
    .addOption(options.moduleCgroup);
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
  for (const what of made) print`made ${what}`;
  if (made.length === 0) print`Everything was there already; nothing was changed.`;
  print`\nserver key ${server.fingerprint}\nclient key ${client.fingerprint}`;
  print`\nNext, in two terminals:\n  veripy-server\n  veripy-client`;
}

async function beginRotation(given: StartOptions): Promise<void> {
  const { current, next, created } = await prepareNextIdentity(given.certs, "server");
  if (!created) {
    throw new VeripyError(
      "bad_config",
      `A rotation is under way already: ${next.fingerprint} is to follow ${current.fingerprint}. Change to it with ` +
        `'veripy-server rotate --finish', or remove server.key.next and server.crt.next from ${given.certs} to give it up.`,
    );
  }
  if (given.json) {
    printJson({ old: current.fingerprint, new: next.fingerprint });
    return;
  }
  print`The next key is ${next.fingerprint}.`;
  print`A server that runs announces it to its clients within a second, and its log names those that know of it.`;
  print`When all do, change to it:\n  veripy-server rotate --finish`;
}

async function finishRotation({ certs, json }: StartOptions): Promise<void> {
  const resumed = await resumeSwap(certs, "server");
  if (resumed === undefined && (await loadNextIdentity(certs, "server")) === undefined) {
    throw new VeripyError(
      "bad_config",
      `There is no rotation to finish in ${certs}. 'veripy-server rotate' begins one.`,
    );
  }
  const { fingerprint } = resumed ?? (await swapIdentity(certs, "server"));
  if (json) {
    printJson({ fingerprint });
    return;
  }
  print`This server's key is now ${fingerprint}; the one before is kept as server.key.old.`;
  print`A server that runs changes to it within a second; who is connected stays connected. Clients that have not heard`;
  print`of it refuse it until they are told: give them the fingerprint, or invite them.`;
}

async function check(mods: string[], given: StartOptions): Promise<number> {
  const checked = await checkModules({ modsDir: given.mods, mods, limits: limitsFrom(given) });
  for (const one of checked) {
    if (given.json) printJson(one);
    else if (one.ok) print`${styled("green", "ok")}      ${`${one.mod}  ${one.desc ?? ""}`.trimEnd()}`;
    else print`${styled("red", "FAILED")}  ${indented(one.problem)}`;
  }
  if (checked.length === 0) note`There is no module in ${given.mods}.`;
  return checked.every(({ ok }) => ok) ? exitCodes.ok : exitCodes.moduleFailed;
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

async function printUnit(given: { user: string; interface: string; port: number }): Promise<void> {
  const { user, port } = given;
  // A unit may be for another machine, or for a user that is still to be made.
  await findSystemUser(user).catch(() => {
    note`warning: /etc/passwd has no user '${user}'. Make one before you start the unit: useradd --system ${user}`;
  });
  const place = { executable: process.execPath, directory: process.cwd() };
  printData(systemdUnit({ ...place, user, hostname: given.interface, port }));
}
