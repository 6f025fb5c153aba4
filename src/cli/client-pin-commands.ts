import type { Command } from "commander";
import { checkClientFiles, forgetServer, trustServer } from "../index.ts";
import { type HostAndPort, hostAndPort, options, parsed } from "./config.ts";
import { note, print, printJson } from "./ui.ts";

interface PinOptions {
  host: string;
  port: number;
  certs: string;
  json?: boolean;
}

/** Adds the commands that change which key is expected from a server. Neither connects to it. */
export function addPinCommands(
  command: (name: string, description: string) => Command,
  optionsOf: (self: Command, server: HostAndPort) => PinOptions,
): void {
  const pinCommand = (name: string, description: string) =>
    command(name, description)
      .argument("<host>", "the server, or HOST:PORT", parsed(hostAndPort))
      .addOption(options.port)
      .addOption(options.certs)
      .addOption(options.json);

  pinCommand("trust-server", "expect exactly this key from a server, in place of the one before")
    .argument("<fingerprint>", "as 'veripy-server fingerprint' prints it on the server")
    .action(async (server: HostAndPort, fingerprint: string, _, self: Command) => {
      const given = optionsOf(self, server);
      await warnOfFiles(given.certs);
      const trusted = await trustServer(addressOf(given), fingerprint);
      if (given.json) {
        printJson(trusted);
        return;
      }
      if (!trusted.changed) {
        print`${trusted.fingerprint} was expected from ${trusted.server} already; nothing was changed.`;
        return;
      }
      print`From ${trusted.server} this client now expects ${trusted.fingerprint}.`;
      for (const old of trusted.replaced) print`It no longer accepts ${old} there.`;
      if (trusted.certificateMovedTo !== undefined) {
        note`server.crt named the key of every server. It is now ${trusted.certificateMovedTo}, and no longer used.`;
      }
    });

  pinCommand("forget-server", "forget which key is expected from a server").action(
    async (server: HostAndPort, _, self: Command) => {
      const given = optionsOf(self, server);
      await warnOfFiles(given.certs);
      const forgotten = await forgetServer(addressOf(given));
      if (given.json) {
        printJson(forgotten);
        return;
      }
      print`Forgot the key of ${forgotten.server}: ${forgotten.fingerprints.join(", ")}`;
      if (forgotten.stillNamedBy !== undefined) {
        note`${forgotten.stillNamedBy} still names the key of every server; to stop using it, move it away.`;
      }
    },
  );
}

async function warnOfFiles(certs: string): Promise<void> {
  for (const warning of await checkClientFiles(certs)) note`${warning}`;
}

function addressOf({ certs, host, port }: PinOptions) {
  return { certsDir: certs, host, port };
}
