import { type Sha256Hex, sha256Hex } from "../base/sha256.ts";
import type { SignedCatalogue } from "./signed-catalogue.ts";

/** The highest serial that was accepted under a name, and the SHA-256 of the text that had it. */
export interface CatalogueMark {
  readonly serial: number;
  readonly sum: Sha256Hex;
}

/** A catalogue's text and its signature. */
export interface CatalogueTexts {
  readonly text: string;
  readonly signature: string;
}

export function markOf({ catalogue, text }: SignedCatalogue): CatalogueMark {
  return { serial: catalogue.serial, sum: sha256Hex(text) };
}

/** Why a catalogue can't follow the one that was accepted last under its name; undefined when it can. */
export function serialProblem(known: CatalogueMark | undefined, next: CatalogueMark): string | undefined {
  if (known === undefined || next.serial > known.serial) return undefined;
  if (next.serial < known.serial)
    return `it has the serial ${next.serial}, and serial ${known.serial} was accepted before`;
  if (next.sum === known.sum) return undefined;
  return `another text with the same serial, ${known.serial}, was accepted before`;
}
