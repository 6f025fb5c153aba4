import { editDistance } from "../index.ts";

const maxLength = 64;
const maxNames = 10_000;
const maxEdits = 2;
const maxSuggestions = 3;

/**
 * ` Did you mean 'hello.ts'?`, or nothing when no name is close. At most two edits (a letter added, removed, replaced,
 * or swapped with the next), and fewer than half of the letters. The work is bounded: names may come from a server.
 */
export function didYouMean(word: string, names: Iterable<string>): string {
  let least = maxEdits;
  let best: string[] = [];
  let looked = 0;
  for (const name of names) {
    if (++looked > maxNames) break;
    const [from, to] = [stemOf(word), stemOf(name)];
    const edits = Math.min(editsBetween(word, name), editsBetween(from, to));
    if (edits > least || 2 * edits >= Math.max(from.length, to.length)) continue;
    if (edits < least) best = [];
    least = edits;
    best.push(name);
  }
  if (best.length === 0) return "";
  return ` Did you mean ${best
    .slice(0, maxSuggestions)
    .map((name) => `'${name}'`)
    .join(" or ")}?`;
}

/** A module's name may be given without its ending. */
function stemOf(name: string): string {
  return name.replace(/\.[jt]s$/, "");
}

/** The Damerau-Levenshtein distance (optimal string alignment); infinite for words that are long or far apart. */
function editsBetween(a: string, b: string): number {
  if (a.length > maxLength || b.length > maxLength || Math.abs(a.length - b.length) > maxEdits)
    return Number.POSITIVE_INFINITY;
  return editDistance(a, b);
}
