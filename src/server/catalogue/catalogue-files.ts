import { isSystemError, VeripyError } from "../../base/errors.ts";
import { readFileBounded } from "../../base/files.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import { decodeUtf8 } from "../../base/utf8.ts";
import { maxCatalogueBytes } from "../../catalogue/catalogue.ts";
import { maxSignatureBytes } from "../../catalogue/ssh-signature.ts";

/** Where a server's catalogue is, and what the paths in it mean. */
export interface CataloguePlaces {
  /** The catalogue. Its signature has the same path with `.sig` at the end. */
  readonly cataloguePath: string;
  /** `mods/` in the catalogue. */
  readonly modsDir: string;
  /** `trusted-keys.json` in the catalogue. */
  readonly trustedKeysPath: string;
}

export const defaultCataloguePath = "./veripy.catalogue";

/** The text of a catalogue; undefined when there is none. Throws `bad_config` when it can't be read. */
export function readCatalogueText(path: string): Promise<string | undefined> {
  return readText(path, maxCatalogueBytes);
}

/** The text of a catalogue's signature; undefined when there is none. Throws `bad_config` when it can't be read. */
export function readSignatureText(cataloguePath: string): Promise<string | undefined> {
  return readText(`${cataloguePath}.sig`, maxSignatureBytes);
}

async function readText(path: string, maxBytes: number): Promise<string | undefined> {
  try {
    return decodeUtf8(await readFileBounded(path, maxBytes));
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    if (error instanceof VeripyError) throw error;
    const why = error instanceof TypeError ? "it is not UTF-8 text" : reasonOf(error);
    throw new VeripyError("bad_config", `Cannot read ${path}: ${why}.`, { cause: error });
  }
}
