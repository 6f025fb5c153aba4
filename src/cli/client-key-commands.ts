import type { Command } from "commander";
import {
  certsFolder,
  join,
  loadIdentity,
  loadOrCreateIdentity,
  makeHome,
  renewCertificate,
  rotateClientKey,
} from "../index.ts";
import { type HostAndPort, hostAndPort } from "./addresses.ts";
import { serverKeyOptions } from "./ask-server-key.ts";
import { noteRemembered } from "./client-connection.ts";
import { type ClientOptions, isGiven, optionsOf } from "./client-options.ts";
import { ClientOutput } from "./client-output.ts";
import { parsed } from "./flag-values.ts";
import { startLogs } from "./logs.ts";
import { options } from "./options.ts";
import { exitCodes, print, printJson } from "./ui.ts";

/** Adds the commands for this client's own key. `setExitCode` is called when a rotation is not complete. */
export function addKeyCommands(
  command: (name: string, description: string) => Command,
  setExitCode: (code: number) => void,
): void {
  command("fingerprint", "print the SHA-256 of this client's public key")
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.json)
    .action(async (_, self: Command) => printFingerprint(await optionsOf(self)));

  command("init", "create a key and a certificate for this client, unless it has them")
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.json)
    .action(async (_, self: Command) => init(await optionsOf(self)));

  command("join", "redeem a code from 'veripy-server invite': both sides learn each other's key")
    .argument("<host>", "the server, as HOST or HOST:PORT", parsed(hostAndPort))
    .argument("<code>", "the code")
    .addOption(options.port)
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.connectTimeout)
    .addOption(options.verbose)
    .addOption(options.json)
    .action(async (server: HostAndPort, code: string, _, self: Command) =>
      redeem(await optionsOf(self, server), code),
    );

  command("renew", "create a new certificate for the same key; the fingerprint does not change")
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.json)
    .action(async (_, self: Command) => renew(await optionsOf(self)));

  command("rotate", "create a new key, and have the servers trust it instead of the current one")
    .addOption(options.host)
    .addOption(options.port)
    .addOption(options.home)
    .addOption(options.clientCerts)
    .addOption(options.serverFingerprint)
    .addOption(options.remember)
    .addOption(options.noRemember)
    .addOption(options.connectTimeout)
    .addOption(options.verbose)
    .addOption(options.json)
    .addHelpText("after", "\nWithout --host and --port, all servers in known-servers.json are told.")
    .action(async (_, self: Command) => {
      const isDone = await rotate(await optionsOf(self), { oneServer: isGiven(self, "host", "port") });
      if (!isDone) setExitCode(exitCodes.notConnected);
    });
}

async function printFingerprint(given: ClientOptions): Promise<void> {
  const { fingerprint } = await loadIdentity(given.certs, "client");
  if (given.json) printJson({ fingerprint });
  else print`${fingerprint}`;
}

/** Unless the keys go somewhere else. */
async function makeOwnHome({ home, certs }: ClientOptions): Promise<void> {
  if (certs === certsFolder(home)) await makeHome(home);
}

async function init(given: ClientOptions): Promise<void> {
  await makeOwnHome(given);
  const { identity, created } = await loadOrCreateIdentity(given.certs, "client");
  if (given.json) {
    printJson({ fingerprint: identity.fingerprint, created });
    return;
  }
  if (created) print`Created a key in ${given.certs}.`;
  else print`This client already has a key; nothing was changed.`;
  print`\nOn the server, type:\n  veripy-server trust ${identity.fingerprint}`;
}

async function redeem(given: ClientOptions, code: string): Promise<void> {
  const { host, port } = given;
  await startLogs(given);
  await makeOwnHome(given);
  const joined = await join({ host, port, certsDir: given.certs, code, timeoutMs: given.connectTimeout });
  const { client, server, name, alreadyTrusted } = joined;
  if (given.json) {
    printJson({ client, server, name, already_trusted: alreadyTrusted, code_spent: !alreadyTrusted });
    return;
  }
  const as = name === undefined ? "" : ` as ${name}`;
  if (alreadyTrusted) print`${host}:${port} already trusts this client${as}. The code was not spent.`;
  else print`Joined ${host}:${port}${as}. The code is spent.`;
  print`server key ${server}\nclient key ${client}`;
}

async function renew(given: ClientOptions): Promise<void> {
  const { fingerprint, notAfter } = await renewCertificate(given.certs, "client");
  if (given.json) printJson({ fingerprint, notAfter: notAfter.toISOString() });
  else print`The certificate of ${fingerprint} is valid until ${notAfter.toISOString().slice(0, 10)}.`;
}

/** Resolves with whether every server accepts the new key, so that this client now uses it. */
async function rotate(given: ClientOptions, { oneServer }: { oneServer: boolean }): Promise<boolean> {
  const { host, port } = given;
  await startLogs(given);
  const rotation = await rotateClientKey({
    certsDir: given.certs,
    timeoutMs: given.connectTimeout,
    ...(oneServer ? { servers: [{ host, port }] } : {}),
    ...serverKeyOptions(given),
  });
  for (const { rememberedIn } of rotation.servers) noteRemembered(rememberedIn);
  new ClientOutput(given.json).rotated(rotation);
  return rotation.done;
}
