import { messageOf, VeripyError } from "../../base/errors.ts";
import { withDefaultLimits } from "../../base/limits.ts";
import type { AllowedSigner } from "../../catalogue/allowed-signers.ts";
import { type Catalogue, parseCatalogue } from "../../catalogue/catalogue.ts";
import { checkCatalogue, timeProblem } from "../../catalogue/signed-catalogue.ts";
import { type CataloguePlaces, readCatalogueText, readSignatureText } from "./catalogue-files.ts";
import { listServedFiles, sumOfListed } from "./served-files.ts";

/** How the files of a folder differ from its catalogue. */
export interface CatalogueDifference {
  readonly path: string;
  /** `unsigned`: it is served, and not in the catalogue. */
  readonly kind: "changed" | "missing" | "unsigned";
}

export interface CatalogueState {
  readonly catalogue: Catalogue;
  /** Who signed it; undefined without signers, or when `problem` says why not. */
  readonly principal?: string;
  /** Why a server would not accept it now. */
  readonly problem?: string;
  readonly differences: readonly CatalogueDifference[];
  /** Why what the folder has besides the catalogue could not be found out. */
  readonly unlisted?: string;
}

export interface CatalogueStateOptions extends CataloguePlaces {
  /** Without them the signature is not checked. */
  readonly signers?: readonly AllowedSigner[] | undefined;
  readonly signer?: string | undefined;
}

/** Reads a folder's catalogue and compares it with the files. Throws `bad_config` when there is none, or it can't be parsed. */
export async function catalogueState(options: CatalogueStateOptions): Promise<CatalogueState> {
  const { cataloguePath } = options;
  const text = await readCatalogueText(cataloguePath);
  if (text === undefined)
    throw new VeripyError(
      "bad_config",
      `There is no ${cataloguePath}. 'veripy-server sign --name NAME' makes one.`,
    );
  const catalogue = parseCatalogue(text, cataloguePath);
  return {
    catalogue,
    ...(await signatureOf(text, catalogue, options)),
    ...(await differencesOf(catalogue, options)),
  };
}

async function signatureOf(
  text: string,
  catalogue: Catalogue,
  { cataloguePath, signers, signer }: CatalogueStateOptions,
): Promise<{ principal?: string; problem?: string }> {
  const nowMs = Date.now();
  const late = timeProblem(catalogue, nowMs);
  const problem = late === undefined ? {} : { problem: `${cataloguePath}: ${late}.` };
  try {
    const signature = await readSignatureText(cataloguePath);
    if (signature === undefined) return { problem: `There is no ${cataloguePath}.sig.` };
    if (signers === undefined) return problem;
    const rules = { signers, principal: signer, nowMs, file: cataloguePath };
    return { principal: checkCatalogue(text, signature, rules).principal, ...problem };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

async function differencesOf(
  { files }: Catalogue,
  places: CataloguePlaces,
): Promise<Pick<CatalogueState, "differences" | "unlisted">> {
  const differences: CatalogueDifference[] = [];
  for (const [path, sum] of files) {
    const found = await sumOfListed(path, places);
    if (found !== sum) differences.push({ path, kind: found === undefined ? "missing" : "changed" });
  }
  try {
    for (const path of (await listServedFiles(places, withDefaultLimits({}))).keys())
      if (!files.has(path)) differences.push({ path, kind: "unsigned" });
  } catch (error) {
    return { differences, unlisted: messageOf(error) };
  }
  return { differences };
}
