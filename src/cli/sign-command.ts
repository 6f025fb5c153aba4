import { homedir } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  type CatalogueServer,
  defaultSigningKey,
  nextCatalogue,
  readAllowedSigners,
  signCatalogue,
} from "../index.ts";
import { duration, parsed } from "./flag-values.ts";
import { options } from "./options.ts";
import { note, print, printData, printJson } from "./ui.ts";

interface SignFlags {
  key?: string;
  name?: string;
  expires?: number;
  server?: CatalogueServer[];
  print?: boolean;
  signers?: string;
  signer?: string;
  catalogue: string;
  mods: string;
  trustedKeys: string;
  json?: boolean;
}

/** Adds `sign`, which makes the next catalogue. */
export function addSignCommand(program: Command): void {
  program
    .command("sign")
    .description("list what the server serves in the next catalogue, and sign it with ssh-keygen")
    .option(
      "--key <file>",
      "private key, or public key whose private half an agent has (default: the only key in ~/.ssh)",
    )
    .option("--name <name>", "name of the catalogue; required for the first one, then kept")
    .addOption(
      new Option("--expires <duration>", "how long the catalogue is valid (default: without end)").argParser(
        parsed(
          duration.refine((ms) => ms >= 1_000 && ms <= 36_500 * 86_400_000, "It must be from 1s to 36500d."),
        ),
      ),
    )
    .addOption(
      new Option(
        "--server <fingerprint@host:port...>",
        "servers that may use it (default: those of the catalogue before; none means every server)",
      ).argParser(servers),
    )
    .addOption(
      new Option("--print", "print the text for somebody else to sign; write nothing").conflicts("key"),
    )
    .addOption(options.catalogue)
    .addOption(options.catalogueSigners)
    .addOption(options.catalogueSigner)
    .addOption(options.mods)
    .addOption(options.trustedKeys)
    .addOption(options.json)
    .addHelpText(
      "after",
      "\nTo sign what --print wrote: ssh-keygen -Y sign -n catalogue@veripy -f KEY veripy.catalogue",
    )
    .action(sign);
}

function servers(text: string, earlier: CatalogueServer[] = []): CatalogueServer[] {
  const [, fingerprint, address] = /^([0-9a-f]{64})@(\S+:\d{1,5})$/.exec(text) ?? [];
  if (fingerprint === undefined || address === undefined)
    throw new InvalidArgumentError("It must be FINGERPRINT@HOST:PORT.");
  return [...earlier, { fingerprint, address }];
}

async function sign(given: SignFlags): Promise<void> {
  const next = {
    cataloguePath: given.catalogue,
    modsDir: given.mods,
    trustedKeysPath: given.trustedKeys,
    name: given.name,
    expiresMs: given.expires,
    servers: given.server,
  };
  if (given.print) {
    printData((await nextCatalogue(next)).text);
    return;
  }
  const key = given.key ?? (await defaultSigningKey(join(homedir(), ".ssh")));
  if (given.key === undefined) note`Signing with ${key}.`;
  const signers = given.signers === undefined ? undefined : await readAllowedSigners(given.signers);
  const { catalogue, principal } = await signCatalogue({ ...next, key, signers, signer: given.signer });
  const { name, serial, files, issued, expires } = catalogue;
  if (given.json) {
    printJson({ name, serial, issued, expires, files: files.size, principal });
    return;
  }
  const by = principal === undefined ? "" : ` by ${principal}`;
  print`Signed ${name}, serial ${serial}${by}: ${files.size} ${files.size === 1 ? "file" : "files"}.`;
}
