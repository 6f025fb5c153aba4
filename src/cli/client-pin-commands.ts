import type { Command } from "commander";
import { forgetServer, trustServer } from "../index.ts";
import { type HostAndPort, hostAndPort } from "./addresses.ts";
import { warnOfClientFiles } from "./client-connection.ts";
import { type ClientOptions, optionsOf } from "./client-options.ts";
import { parsed } from "./flag-values.ts";
import { options } from "./options.ts";
import { note, print, printJson } from "./ui.ts";

/** Adds the commands that change which key is expected from a server. Neither connects to it. */
export function addPinCommands(command: (name: string, description: string) => Command): void {
  const pinCommand = (name: string, description: string) =>
    command(name, description)
      .argument("<host>", "the server, as HOST or HOST:PORT", parsed(hostAndPort))
      .addOption(options.port)
      .addOption(options.home)
      .addOption(options.clientCerts)
      .addOption(options.json);

  pinCommand("trust-server", "expect exactly this key from a server, instead of the one before")
    .argument("<fingerprint>", "as 'veripy-server fingerprint' prints it on the server")
    .action(async (server: HostAndPort, fingerprint: string, _, self: Command) =>
      pin(await optionsOf(self, server), fingerprint),
    );

  pinCommand("forget-server", "forget which key is expected from a server").action(
    async (server: HostAndPort, _, self: Command) => forget(await optionsOf(self, server)),
  );
}

async function pin(given: ClientOptions, fingerprint: string): Promise<void> {
  await warnOfClientFiles(given.certs);
  const trusted = await trustServer(addressOf(given), fingerprint);
  if (given.json) {
    printJson(trusted);
    return;
  }
  if (!trusted.changed) {
    print`This client already expects ${trusted.fingerprint} from ${trusted.server}; nothing was changed.`;
    return;
  }
  print`This client now expects ${trusted.fingerprint} from ${trusted.server}.`;
  for (const old of trusted.replaced) print`It no longer accepts ${old} there.`;
  if (trusted.certificateMovedTo !== undefined) {
    note`server.crt gave the key of every server. It is now ${trusted.certificateMovedTo}, which is not read.`;
  }
}

async function forget(given: ClientOptions): Promise<void> {
  await warnOfClientFiles(given.certs);
  const forgotten = await forgetServer(addressOf(given));
  if (given.json) {
    printJson(forgotten);
    return;
  }
  print`Forgot the key of ${forgotten.server}: ${forgotten.fingerprints.join(", ")}`;
  if (forgotten.stillNamedBy !== undefined) {
    note`${forgotten.stillNamedBy} still gives the key of every server. To stop using it, move it elsewhere.`;
  }
}

function addressOf({ certs, host, port }: ClientOptions) {
  return { certsDir: certs, host, port };
}
