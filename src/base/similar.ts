const maxLength = 64;
const maxCandidates = 10_000;
const maxEdits = 2;
const minPrefix = 3;
const maxSuggestions = 3;

/**
 * `Did you mean 'hello.ts'?`, with the closest of `candidates`; empty when none is close. A candidate is close if it
 * begins with `word`, or differs by at most two edits (a character inserted, deleted, replaced, or swapped with the next)
 * and at most a third of the characters. Case is ignored, as is a missing or wrong file extension of a module. The work
 * is bounded, because names may come from a server.
 */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const names = mostSimilar(word, candidates).map((name) => `'${name}'`);
  return names.length === 0 ? "" : `Did you mean ${names.join(" or ")}?`;
}

/** The closest of `candidates`, at most three, in the given order; empty when none is close. */
export function mostSimilar(word: string, candidates: Iterable<string>): string[] {
  let least = maxEdits;
  let closest = new Set<string>();
  let looked = 0;
  for (const candidate of candidates) {
    if (++looked > maxCandidates) break;
    const edits = editsBetween(word.toLowerCase(), candidate.toLowerCase());
    if (edits > least) continue;
    if (edits < least) closest = new Set();
    least = edits;
    closest.add(candidate);
  }
  return [...closest].slice(0, maxSuggestions);
}

/** Infinity for names that are not close. */
function editsBetween(word: string, name: string): number {
  // A prefix counts as one edit, so that an exact name comes first.
  const asPrefix = word.length >= minPrefix && name.startsWith(word) ? 1 : Number.POSITIVE_INFINITY;
  return Math.min(asPrefix, near(word, name), near(stemOf(word), stemOf(name)));
}

function near(word: string, name: string): number {
  const tolerated = Math.min(maxEdits, Math.floor(word.length / 3));
  if (word.length > maxLength || Math.abs(word.length - name.length) > tolerated) {
    return Number.POSITIVE_INFINITY;
  }
  const edits = editDistance(word, name);
  return edits <= tolerated ? edits : Number.POSITIVE_INFINITY;
}

function stemOf(name: string): string {
  return name.replace(/\.[jt]s$/, "");
}

/**
 * How many characters must be inserted, deleted, replaced, or swapped with a neighbour (optimal string alignment).
 * Takes time proportional to the product of the lengths: limit them.
 */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let least = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (isSame ? 0 : 1));
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, at(beforeLast, j - 2) + 1);
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
