import { type Command, Option } from "commander";
import {
  createInvitation,
  disconnectKey,
  parseFingerprint,
  refuseSignedTrust,
  refuseWithoutServer,
  removeTrustedKey,
  revokeInvitations,
  revokeTrustedKey,
  trustIsSigned,
  trustKey,
} from "../index.ts";
import { printKeys } from "./key-list.ts";
import { addKeyFlags, expiryFrom, fieldsFrom, type KeyFlags } from "./key-options.ts";
import { options } from "./options.ts";
import { note, print, printJson } from "./ui.ts";

interface TrustOptions extends KeyFlags {
  trustedKeys: string;
  catalogue: string;
  certs: string;
  json?: boolean;
}

/** Adds the commands that decide which clients are trusted, and for what. */
export function addTrustCommands(program: Command): void {
  addKeyFlags(program.command("trust"), "--expires")
    .description("trust a client's key, or change what a trusted key may do")
    .argument("<fingerprint>", "as 'veripy-client fingerprint' prints it")
    .addOption(options.trustedKeys)
    .addOption(options.catalogue)
    .addOption(options.json)
    .addHelpText("after", "\nIf the key is already trusted, the given fields change and the others stay.")
    .action(trust);

  program
    .command("untrust")
    .description("stop trusting a key; its connections are closed within a second")
    .argument("<fingerprint|name>")
    .addOption(options.trustedKeys)
    .addOption(options.catalogue)
    .addOption(options.json)
    .action(untrust);

  addKeyFlags(program.command("invite"), "--key-expires")
    .description("print a one-time code with which a client joins, without copying fingerprints")
    .addOption(options.expires)
    .addOption(
      new Option("--revoke <id|name>", "revoke an open invitation instead of creating one").conflicts([
        "name",
        "modules",
        "actions",
        "from",
        "keyExpires",
        "maxConnections",
      ]),
    )
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.catalogue)
    .addOption(options.json)
    .addHelpText(
      "after",
      "\n--expires applies to the code. All other fields, such as --key-expires, apply to the key that joins.",
    )
    .action(async (given: InviteFlags) => {
      await refuseWithoutServer(given.certs, given.trustedKeys);
      if (given.revoke === undefined) await invite(given);
      else await revoke(given.certs, given.revoke, given.json ?? false);
    });

  program
    .command("keys")
    .description("list trusted keys, open invitations and connected clients")
    .addOption(options.certs)
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .action(async (given: TrustOptions) => {
      await printKeys(given.trustedKeys, given.certs, given.json ?? false);
    });

  program
    .command("disconnect")
    .description("close a client's connections to the server in this folder")
    .argument("<fingerprint|name>")
    .addOption(options.certs)
    .addOption(options.json)
    .addHelpText(
      "after",
      "\nThe key is still trusted, so the client may connect again. To prevent that, use 'untrust'.",
    )
    .action(disconnect);
}

type InviteFlags = TrustOptions & { expires: number; keyExpires?: string; revoke?: string };

async function trust(text: string, given: TrustOptions & { expires?: string }): Promise<void> {
  const fingerprint = parseFingerprint(text);
  const changes = { ...fieldsFrom(given), ...expiryFrom(given.expires) };
  await refuseSignedTrust(given.catalogue, "trust a key");
  const { changed, added, warning } = await trustKey(given.trustedKeys, fingerprint, changes);
  if (given.json) printJson({ fingerprint, changed, added });
  else if (added) print`Trusted ${fingerprint}.`;
  else if (changed) print`Changed the entry of ${fingerprint}: ${Object.keys(changes).join(", ")}.`;
  else print`${fingerprint} is already trusted; nothing was changed.`;
  if (warning !== undefined) note`${warning}`;
}

async function untrust(who: string, given: TrustOptions): Promise<void> {
  // A revocation does not wait for a signature.
  if (await trustIsSigned(given.catalogue)) return revokeSigned(who, given);
  const { changed, warning } = await removeTrustedKey(given.trustedKeys, who, { mustBeThere: true });
  if (warning !== undefined) note`${warning}`;
  if (given.json) printJson({ who, changed });
  else print`${who} is no longer trusted.`;
}

async function revokeSigned(who: string, { trustedKeys, json }: TrustOptions): Promise<void> {
  const { changed } = await revokeTrustedKey(trustedKeys, who);
  if (json) printJson({ who, changed });
  else if (changed) print`${who} is no longer trusted: it is in revoked-keys.json now.`;
  else print`${who} was revoked before; nothing was changed.`;
  if (changed) note`Remove it from trusted-keys.json as well before the catalogue is signed anew.`;
}

async function invite(given: InviteFlags): Promise<void> {
  await refuseSignedTrust(given.catalogue, "invite a client");
  const { expires: until } = expiryFrom(given.keyExpires);
  const fields = { ...fieldsFrom(given), ...(until == null ? {} : { expires: until }) };
  const invited = { validMs: given.expires, fields, trustedKeysPath: given.trustedKeys };
  const { code, id, expires } = await createInvitation(given.certs, invited);
  if (given.json) printJson({ code, id, expires });
  else
    print`${code}\n\nUntil ${expires.toISOString()}, type on the client:\n  veripy-client join HOST ${code}`;
}

async function revoke(certsDir: string, idOrName: string, json: boolean): Promise<void> {
  const revoked = await revokeInvitations(certsDir, idOrName);
  if (json) {
    printJson({ revoked: revoked.map(({ id, fields }) => ({ id, name: fields.name })) });
    return;
  }
  for (const { id, fields } of revoked) {
    const name = fields.name === undefined ? "" : ` ('${fields.name}')`;
    print`The invitation ${id}${name} is revoked.`;
  }
}

async function disconnect(who: string, given: TrustOptions): Promise<void> {
  const { fingerprint, name, closed } = await disconnectKey(given.certs, who);
  if (given.json) {
    printJson({ fingerprint, name, closed });
    return;
  }
  print`Disconnected ${name ?? fingerprint}: ${closed} ${closed === 1 ? "connection" : "connections"}.`;
  print`The key is still trusted, so its client may connect again. To prevent that: veripy-server untrust ${fingerprint}`;
}
