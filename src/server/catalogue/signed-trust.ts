import { VeripyError } from "../../base/errors.ts";
import { parseCatalogue, trustFilePath } from "../../catalogue/catalogue.ts";
import { readCatalogueText } from "./catalogue-files.ts";

/**
 * Whether the catalogue at this path lists the trust file, so that an edit of the file counts only when the catalogue is
 * signed anew. True for a catalogue that can't be read: a revocation must count in either case.
 */
export async function trustIsSigned(cataloguePath: string): Promise<boolean> {
  try {
    const text = await readCatalogueText(cataloguePath);
    return text !== undefined && parseCatalogue(text, cataloguePath).files.has(trustFilePath);
  } catch {
    return true;
  }
}

/** Throws `bad_config` when the trust file is signed. `what` is what can't be done then, such as "trust a key". */
export async function refuseSignedTrust(cataloguePath: string, what: string): Promise<void> {
  if (!(await trustIsSigned(cataloguePath))) return;
  throw new VeripyError(
    "bad_config",
    `Cannot ${what}: ${cataloguePath} lists ${trustFilePath}, so a change counts only when it is signed. Add the key's ` +
      `fingerprint to ${trustFilePath}, then sign the catalogue anew with 'veripy-server sign'.`,
  );
}
