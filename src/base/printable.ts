// Control characters (escape sequences, line breaks), format characters (bidirectional controls, zero-width characters),
// lone surrogates, line and paragraph separators, and all other code points that Unicode displays as nothing. U+FE0E
// and U+FE0F stay: they select text or emoji style.
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|(?!\ufe0e|\ufe0f)\p{Default_Ignorable_Code_Point}/gu;
const plainAscii = /^[ -~]*$/;

/**
 * Escapes (`\u001b`) every character that controls a terminal, breaks a line, reorders text, or is invisible. A
 * character outside the Basic Multilingual Plane becomes two escapes, so that escaped JSON keeps its meaning. Escaping
 * twice is the same as once.
 *
 * `keep` lists characters that are part of the layout and stay, such as `"\n\t"` for text of several lines.
 */
export function printable(text: string, keep = ""): string {
  if (plainAscii.test(text)) return text;
  return text.replaceAll(unprintable, (character) =>
    keep.includes(character) ? character : character.split("").map(escaped).join(""),
  );
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
