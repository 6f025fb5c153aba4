/**
 * The `candidates` that `word` may be a misspelling of, best first: those that begin with it, or differ in at most a
 * third of its characters. Case is ignored.
 */
export function mostSimilar(word: string, candidates: Iterable<string>, atMost = 3): string[] {
  const wanted = word.toLowerCase();
  const tolerated = Math.max(1, Math.floor(wanted.length / 3));
  const found: { candidate: string; distance: number }[] = [];
  for (const candidate of new Set(candidates)) {
    const other = candidate.toLowerCase();
    const isPrefix = wanted.length >= 3 && other.startsWith(wanted);
    // A difference in length is a lower bound of the distance.
    if (!isPrefix && Math.abs(other.length - wanted.length) > tolerated) continue;
    const distance = isPrefix ? 1 : editDistance(wanted, other);
    if (distance <= tolerated) found.push({ candidate, distance });
  }
  found.sort((one, other) => one.distance - other.distance);
  return found.slice(0, atMost).map(({ candidate }) => candidate);
}

/**
 * How many characters must be inserted, deleted, replaced, or swapped with a neighbour (optimal string alignment).
 * Takes time proportional to the product of the lengths: limit them.
 */
export function editDistance(a: string, b: string): number {
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
