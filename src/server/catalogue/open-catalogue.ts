import { basename } from "node:path";
import { VeripyError } from "../../base/errors.ts";
import { loggerOf } from "../../base/log.ts";
import { emptyTrustFile, parseTrustedKeys, type TrustedKeys } from "../../trust/trusted-keys.ts";
import type { CatalogueChange } from "../observers/observer.ts";
import { defaultCataloguePath } from "./catalogue-files.ts";
import { CatalogueFollower } from "./catalogue-follower.ts";
import { type CatalogueRules, CatalogueSource } from "./catalogue-source.ts";
import { ServedCatalogue } from "./served-catalogue.ts";

const defaultStateDir = "./.veripy";
const log = loggerOf("server");

/** A server's catalogue, and what keeps it up to date. */
export class CatalogueParts {
  readonly served: ServedCatalogue;
  readonly follower: CatalogueFollower;
  readonly #trustFile: string;
  onChange: (change: CatalogueChange) => void = () => {};

  constructor({ catalogue = {}, modsDir, trustedKeysPath }: CatalogueOptions, fingerprint: () => string) {
    const defaults = { path: defaultCataloguePath, stateDir: defaultStateDir };
    const source = new CatalogueSource(catalogue, defaults, fingerprint);
    this.#trustFile = basename(trustedKeysPath);
    this.served = new ServedCatalogue(source.isEnforced);
    this.follower = new CatalogueFollower({
      source,
      served: this.served,
      places: { cataloguePath: source.path, modsDir, trustedKeysPath },
      onChange: (change) => this.onChange(change),
    });
  }

  /** The keys of the trust file that was read, or none if the catalogue does not admit its text. */
  admittedTrust(read: TrustedKeys): TrustedKeys {
    const admission = this.served.admitTrust(read.text);
    if (admission === "now") return read;
    const why = admission instanceof VeripyError ? admission.message : "no catalogue is accepted yet.";
    log.error("No key is trusted: {why}", { why });
    return parseTrustedKeys(emptyTrustFile, this.#trustFile).without(read.revoked);
  }
}

export interface CatalogueOptions {
  readonly catalogue?: CatalogueRules;
  readonly modsDir: string;
  readonly trustedKeysPath: string;
}

/**
 * Reads the catalogue that a server starts with. Throws `bad_config` for a mistake in the signers' file. A catalogue that is
 * not accepted is no error: the server then waits for one that is.
 */
export async function openCatalogue(
  options: CatalogueOptions,
  fingerprint: () => string,
): Promise<CatalogueParts> {
  const parts = new CatalogueParts(options, fingerprint);
  await parts.follower.begin();
  return parts;
}
