// JSON strings as text. Most strings on the wire are short and need no escapes: a pattern handles those in less time
// than it takes to call the engine's JSON functions.

const plainText = /^[^"\\\0-\x1f\ud800-\udfff]{0,1000}$/;
const plainLiteral = /"[^"\\\0-\x1f]{0,1000}"/y;

/** The same as `JSON.stringify(text)`. */
export function quote(text: string): string {
  return plainText.test(text) ? `"${text}"` : JSON.stringify(text);
}

/** A slice retains its parent string. From this length on, the parent is not much longer. */
const longPiece = 8 * 1024;

/**
 * The value of a string literal, which must be valid JSON. A short one is copied, so that it does not retain the text
 * from which the literal was sliced: a module or program may keep it for a long time.
 */
export function unquote(literal: string): string {
  if (literal.length < longPiece || literal.includes("\\")) return JSON.parse(literal) as string;
  return literal.slice(1, -1);
}

/** The end of the JSON string that begins at `from`; undefined unless it is short and has no escapes. */
export function endOfPlainLiteral(text: string, from: number): number | undefined {
  plainLiteral.lastIndex = from;
  return plainLiteral.test(text) ? plainLiteral.lastIndex : undefined;
}

/** Whether it is a JSON string without surrounding white space. */
export function isLiteral(json: string): boolean {
  if (!json.startsWith('"') || !json.endsWith('"')) return false;
  try {
    return typeof JSON.parse(json) === "string";
  } catch {
    return false;
  }
}
