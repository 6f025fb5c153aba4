/**
 * Matches a whole module name: `*` stands for any number of characters, `?` for one, any other character for itself.
 * Case matters, as in file names.
 */
export function matchesName(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  // The last `*` and where its match ends. Backtracking to that one only takes at most pattern × name steps.
  let star = -1;
  let swallowed = 0;
  while (n < name.length) {
    if (pattern[p] === "*") {
      star = p;
      swallowed = n;
      p += 1;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === name[n])) {
      p += 1;
      n += 1;
    } else if (star >= 0) {
      swallowed += 1;
      p = star + 1;
      n = swallowed;
    } else return false;
  }
  while (pattern[p] === "*") p += 1;
  return p === pattern.length;
}
