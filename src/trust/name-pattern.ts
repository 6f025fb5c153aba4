/**
 * A pattern over module names: `*` is any number of characters, `?` is one, everything else is itself.
 * It covers the whole name, and upper and lower case differ, as they do in file names.
 */
export function matchesName(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  // The last `*`, and what it had swallowed: going back there alone keeps this linear in each.
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
