import type { CatalogueSignature, VerifyOutcome, VeripyClient } from "../index.ts";
import { styled, type Text, text } from "./text.ts";
import { note, printJson } from "./ui.ts";

/** Who signed what a module is held to, as lists show it. */
export function signedText({ principal, serial }: CatalogueSignature): Text {
  return styled("green", `signed by ${principal} (serial ${serial})`);
}

/** For `--json`: `signed`, where something is. */
export function signedJson(signed: CatalogueSignature | undefined): { signed?: CatalogueSignature } {
  return signed === undefined ? {} : { signed };
}

/** The signature of a module that was looked at, as lists show it. */
export function outcomeText(outcome: VerifyOutcome | undefined): Text {
  const signed = signatureOf(outcome);
  if (signed !== undefined) return signedText(signed);
  return outcome !== undefined && "verdict" in outcome ? styled("red", "NOT SIGNED") : text`unknown`;
}

/** The same for `--json`: `signed` is false for a module that the catalogue does not list as it is. */
export function outcomeJson(outcome: VerifyOutcome | undefined): { signed?: CatalogueSignature | false } {
  const signed = signatureOf(outcome);
  if (signed !== undefined) return { signed };
  return outcome !== undefined && "verdict" in outcome ? { signed: false } : {};
}

/** Says on standard error, or with `json` in a line of its own, which catalogue the server is held to, if any. */
export function noteCatalogue({ catalogue: { signature } }: VeripyClient, json = false): void {
  if (signature === undefined) return;
  if (json) printJson({ catalogue: signature });
  else note`The catalogue ${signature.name} is ${signedText(signature)}.`;
}

function signatureOf(outcome: VerifyOutcome | undefined): CatalogueSignature | undefined {
  if (outcome === undefined || !("verdict" in outcome)) return undefined;
  return outcome.verdict.verified ? outcome.verdict.signed : undefined;
}
