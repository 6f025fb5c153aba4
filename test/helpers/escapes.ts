/**
 * A text by a hostile peer: it goes up a line, erases it, writes a green verdict there, sets the title, reverses the text
 * and hides the rest. It has every kind of character that must not reach a terminal.
 */
export const evilArgument =
  "\x1b[1A\x1b[2K\x1b[32mverified\x1b[39m  forged.ts\nverified  forged.ts\r\x9b2J\x9d0;title\x07\x7f\x85" +
  "\u2028\u2029\u202e\u2066\u200f\u061c\u200b\u2060\u00ad\ufeff\u{e0041}\b\t.";

/** The same with half a surrogate pair, which only JSON can express. */
export const evil = `${evilArgument}\ud800`;

// The styles of the commands: green, red, cyan, yellow, gray, and reset.
const ownStyles = /\x1b\[(?:31|32|33|36|39|90)m/g;
const strays = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufffd]/gu;

/** The characters in an output that could steer a terminal or deceive the eye, except layout and our own styles. */
export function strayEscapes(output: string): string[] {
  const rest = output.replaceAll(/\r\n|[\n\t]/g, "").replaceAll(ownStyles, "");
  return (rest.match(strays) ?? []).map((character) => `U+${character.codePointAt(0)?.toString(16)}`);
}

/** Lines that look like a verdict on the module of `evil`, with or without colour. */
export function forgedVerdicts(output: string): string[] {
  const lines = output.split(/[\r\n\u0085\u2028\u2029]+/).map((line) => line.replaceAll(ownStyles, ""));
  return lines.filter((line) => line.startsWith("verified  forged.ts"));
}
