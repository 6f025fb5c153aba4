import { VeripyError } from "../base/errors.ts";
import { type AllowedSigner, findSigner } from "./allowed-signers.ts";
import { type Catalogue, parseCatalogue } from "./catalogue.ts";
import { isSignatureOf, parseSshSignature } from "./ssh-signature.ts";

/** The namespace of the signatures of catalogues. */
export const catalogueNamespace = "catalogue@veripy";
/** How far in the future a catalogue may have been issued, since clocks differ. */
const maxAheadMs = 86_400_000;

/** A catalogue whose signature was checked. */
export interface SignedCatalogue {
  readonly catalogue: Catalogue;
  /** Who signed it, as `allowed_signers` names them. */
  readonly principal: string;
  /** Exactly what was signed, and its signature. */
  readonly text: string;
  readonly signature: string;
}

/** Who signed the catalogue that a server is held to. */
export interface CatalogueSignature {
  /** As the signers' file names them. */
  readonly principal: string;
  readonly serial: number;
  /** The catalogue's name. */
  readonly name: string;
}

export interface SignatureRules {
  readonly signers: readonly AllowedSigner[];
  /** Only this principal may have signed. */
  readonly principal?: string | undefined;
  readonly nowMs: number;
  /** Names the file in messages. Default: `veripy.catalogue`. */
  readonly file?: string;
}

/**
 * Checks a catalogue's signature before a byte of it is parsed. Throws `verification_failed` unless an allowed signer
 * has signed this text, `bad_config` for a text that is no catalogue.
 */
export function checkCatalogue(text: string, signature: string, rules: SignatureRules): SignedCatalogue {
  const { signers, principal, nowMs, file = "veripy.catalogue" } = rules;
  const parsed = parseSshSignature(signature, `${file}.sig`);
  const refuse = (why: string): never => {
    throw new VeripyError("verification_failed", `${file} is not signed as it must be: ${why}.`);
  };
  if (parsed.namespace !== catalogueNamespace)
    refuse(`its signature is for the namespace '${parsed.namespace}', not '${catalogueNamespace}'`);
  if (!isSignatureOf(parsed, text, catalogueNamespace)) refuse("its signature does not fit its text");
  const found = findSigner(signers, parsed.publicKey, { namespace: catalogueNamespace, principal, nowMs });
  if ("why" in found) return refuse(found.why);
  return { catalogue: parseCatalogue(text, file), principal: found.principal, text, signature };
}

/** Why a catalogue can't be newly accepted at this time; undefined when it can. */
export function timeProblem({ issued, expires }: Catalogue, nowMs: number): string | undefined {
  if (Date.parse(issued) > nowMs + maxAheadMs)
    return `it was issued in the future, at ${issued}; check the clock`;
  if (isExpired({ expires }, nowMs)) return `it has expired at ${expires}`;
  return undefined;
}

export function isExpired({ expires }: Pick<Catalogue, "expires">, nowMs: number): boolean {
  return expires !== undefined && Date.parse(expires) <= nowMs;
}
