const quote = 0x22;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/**
 * Whether a JSON text nests arrays and objects more than `maxDepth` levels deep. Check this before parsing untrusted
 * text: `JSON.stringify` and others recurse over the value, and Bun takes 600 ms to detect a stack overflow. For text
 * that is not JSON the answer means nothing; the parser refuses it.
 */
export function isDeeperThan(json: string, maxDepth: number): boolean {
  // Every level takes two characters, so most texts are too short.
  if (json.length <= 2 * maxDepth) return false;
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case quote:
        at = endOfString(json, at);
        break;
      case openBracket:
      case openBrace:
        depth += 1;
        if (depth > maxDepth) return true;
        break;
      case closeBracket:
      case closeBrace:
        depth -= 1;
        break;
    }
  }
  return false;
}

/** The offset of the closing quote of the string that begins at `from`; the end of the text when there is none. */
function endOfString(json: string, from: number): number {
  for (let end = json.indexOf('"', from + 1); end >= 0; end = json.indexOf('"', end + 1)) {
    let escapes = 0;
    while (json.charCodeAt(end - 1 - escapes) === backslash) escapes += 1;
    if (escapes % 2 === 0) return end;
  }
  return json.length;
}
