const maxLength = 64;
const maxCandidates = 10_000;
const maxEdits = 2;
const minPrefix = 3;
const maxSuggestions = 3;

/**
 * `Did you mean 'hello.ts'?`, naming the closest of `candidates`, or nothing when none is near. Near is one that begins
 * with `word`, or differs from it by at most two edits (a character added, removed, replaced, or swapped with the next)
 * and by at most a third of its characters. Case does not count, nor does a module's ending that was left out or wrong.
 * The work is bounded: names may come from a server.
 */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const names = mostSimilar(word, candidates).map((name) => `'${name}'`);
  return names.length === 0 ? "" : `Did you mean ${names.join(" or ")}?`;
}

/** The closest of `candidates`, three at most, in their own order; empty when none is near. */
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

/** Infinite for names that are not near each other. */
function editsBetween(word: string, name: string): number {
  // A beginning counts as one edit, so that a name that was meant whole comes first.
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
 * How many characters have to be added, removed, replaced or swapped with their neighbour (optimal string alignment).
 * Takes time and memory of the product of the lengths: bound them.
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
