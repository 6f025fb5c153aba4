// Control characters (escape sequences, line breaks), format characters (bidirectional controls, zero-width characters),
// lone surrogates, line and paragraph separators, and everything else that Unicode says to show as nothing. U+FE0E and
// U+FE0F are left alone: they choose between the two looks of an emoji.
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|(?!\ufe0e|\ufe0f)\p{Default_Ignorable_Code_Point}/gu;
const plainAscii = /^[ -~]*$/;

/**
 * Escapes (`\u001b`) everything in a text that controls a terminal, breaks a line, reorders what is shown, or is
 * invisible. A character outside the Basic Multilingual Plane becomes two escapes, so escaped JSON means the same.
 * Escaping twice changes nothing more.
 *
 * `keep` lists characters that may stay because they lay out this text: `"\n\t"` if it may have several lines.
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
