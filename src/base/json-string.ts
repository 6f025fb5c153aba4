// JSON strings as text. Most that cross a wire are short and have nothing to escape; a pattern knows those faster than
// the engine's parser and writer would take to begin.

const plainText = /^[^"\\\0-\x1f\ud800-\udfff]{0,1000}$/;
const plainLiteral = /"[^"\\\0-\x1f]{0,1000}"/y;

/** The same as `JSON.stringify(text)`. */
export function quote(text: string): string {
  return plainText.test(text) ? `"${text}"` : JSON.stringify(text);
}

/** A piece of a text keeps all of the text in memory. With one of this size, that is not much more. */
const longPiece = 8 * 1024;

/**
 * The string of a JSON literal, which the caller knows to be one. It does not hold on to the text that the literal was
 * cut out of: it may stay with a module, or a program, for as long as that likes.
 */
export function unquote(literal: string): string {
  if (literal.length < longPiece || literal.includes("\\")) return JSON.parse(literal) as string;
  return literal.slice(1, -1);
}

/** Where the JSON string that begins at `from` ends, if it is short and without escapes. */
export function endOfPlainLiteral(text: string, from: number): number | undefined {
  plainLiteral.lastIndex = from;
  return plainLiteral.test(text) ? plainLiteral.lastIndex : undefined;
}

/** True for a JSON string without white space around it. */
export function isLiteral(json: string): boolean {
  if (!json.startsWith('"') || !json.endsWith('"')) return false;
  try {
    return typeof JSON.parse(json) === "string";
  } catch {
    return false;
  }
}
