import { printable } from "../index.ts";
import { type Style, sourceLine, type Text } from "./text.ts";

/** Signs of a line in a unified diff. A header begins with one of these too, but stands before the first hunk. */
const styles: Record<string, Style> = { "+": "green", "-": "red", "@": "cyan", "\\": "gray" };

/** Two lines of notes would say no more. */
const maxMarks = 8;

/** A unified diff for a person: in colour, and with everything visible that a difference can hide in. */
export function patchText(patch: string): Text[] {
  const [from = "", to = "", ...hunks] = patch.replace(/\n$/, "").split("\n");
  return [sourceLine(from, "bold"), sourceLine(to, "bold"), ...diffLines(hunks)];
}

/**
 * Lines that begin with ` `, `+`, `-`, `@` or `\`. A line that was added or removed is followed by a note, like the one about
 * a missing newline, if it holds characters that can't be seen: escapes alone could stand in the source themselves.
 */
export function diffLines(lines: readonly string[]): Text[] {
  const looks = { "+": looksOf("+", lines), "-": looksOf("-", lines) };
  return lines.flatMap((line) => {
    const [sign = ""] = line;
    const shown = sourceLine(line, styles[sign]);
    if (sign !== "+" && sign !== "-") return [shown];
    const content = line.slice(1);
    const hasTwin = looks[sign === "+" ? "-" : "+"].has(look(content));
    const marks = marksOf(content, hasTwin);
    return marks.length === 0 ? [shown] : [shown, sourceLine(noteOf(marks), styles["\\"])];
  });
}

/** Characters that are hard to see, by their place in the line. */
interface Mark {
  readonly column: number;
  readonly character: string;
}

function noteOf(marks: readonly Mark[]): string {
  const named = marks
    .slice(0, maxMarks)
    .map(({ column, character }) => `${codePoint(character)} in column ${column}`);
  const more = marks.length > maxMarks ? `, and ${marks.length - maxMarks} more` : "";
  return `\\ Not to be seen above: ${named.join(", ")}${more}`;
}

function marksOf(line: string, hasTwin: boolean): Mark[] {
  const end = line.trimEnd().length;
  const marks: Mark[] = [];
  let offset = 0;
  let column = 0;
  for (const character of line) {
    column += 1;
    const isPlain = character >= " " && character <= "~" && offset < end;
    if (!isPlain && (offset >= end || isHidden(character) || (hasTwin && character !== " ")))
      marks.push({ column, character });
    offset += character.length;
  }
  return marks;
}

/** Escaped where it is printed, a blank other than the usual ones, or a mark that selects how a character is drawn. */
function isHidden(character: string): boolean {
  return printable(character, "\t") !== character || /[\ufe00-\ufe0f]|\u2800|(?! )\p{Zs}/u.test(character);
}

function looksOf(sign: string, lines: readonly string[]): Set<string> {
  return new Set(lines.flatMap((line) => (line.startsWith(sign) ? [look(line.slice(1))] : [])));
}

/** Equal for lines that a person can't tell apart. */
function look(line: string): string {
  return printable(line.normalize("NFKC"), "\t").replaceAll(/\s+/g, " ").trimEnd();
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}
