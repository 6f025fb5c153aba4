import { styleText } from "node:util";
import { printable } from "../index.ts";

export type Style = Parameters<typeof styleText>[0];

/** A value in a `text` template. */
export type Value = string | number | Text;

interface Piece {
  readonly text: string;
  readonly style?: Style;
}

/**
 * Text that is safe to show on a terminal: every value in it is escaped, so styles and line breaks come from this
 * program only.
 */
export class Text {
  readonly pieces: readonly Piece[];

  /** Use `text`, `styled`, `lines` or `indented`. */
  constructor(pieces: readonly Piece[]) {
    this.pieces = pieces.map((piece) => {
      const shown = printable(piece.text, "\n\t");
      return shown === piece.text ? piece : { ...piece, text: shown };
    });
  }

  /** With styles if the stream is a terminal that wants them (see NO_COLOR and FORCE_COLOR in node:util). */
  renderFor(stream: NodeJS.WriteStream): string {
    return this.pieces
      .map(({ text, style }) => (style === undefined ? text : styleText(style, text, { stream })))
      .join("");
  }

  /** The number of terminal columns that it takes, if it is one line. */
  get width(): number {
    return Bun.stringWidth(this.plain);
  }

  /** The text without its styles. */
  get plain(): string {
    return this.pieces.map(({ text }) => text).join("");
  }
}

/** A template tag. Line breaks in the template are kept; those in its values are escaped. */
export function text(strings: TemplateStringsArray, ...values: Value[]): Text {
  const pieces = strings.flatMap((string, index) => {
    const value = values[index];
    return [{ text: string }, ...(value === undefined ? [] : piecesOf(value))];
  });
  return new Text(pieces);
}

export function styled(style: Style, value: string): Text {
  return new Text([{ text: printable(value), style }]);
}

/** A page, such as help, whose line breaks are kept. */
export function lines(page: string): Text {
  return new Text([{ text: page }]);
}

/** Text of one or more lines from elsewhere. All but the first are indented, so that none can pose as a message. */
export function indented(foreign: string): Text {
  return new Text([{ text: foreign.trimEnd().replaceAll("\n", "\n  ") }]);
}

/** Enough of a digest to tell two apart by eye; `verify` and `--json` show the whole digest. */
export function shortId(digest: string): string {
  return digest.slice(0, 16);
}

/** One line of a source: tabs stay, and every other character that can't be seen is escaped, in yellow. */
export function sourceLine(line: string, style?: Style): Text {
  const pieces: { text: string; style?: Style }[] = [];
  let isEscapedBefore: boolean | undefined;
  for (const character of printable(line, "\t") === line ? [line] : line) {
    const shown = printable(character, "\t");
    const isEscaped = shown !== character;
    const last = pieces.at(-1);
    if (last !== undefined && isEscaped === isEscapedBefore) last.text += shown;
    else {
      const own = isEscaped ? "yellow" : style;
      pieces.push(own === undefined ? { text: shown } : { text: shown, style: own });
    }
    isEscapedBefore = isEscaped;
  }
  return new Text(pieces);
}

/** Several texts, concatenated. */
export function joined(texts: readonly Text[]): Text {
  return new Text(texts.flatMap(({ pieces }) => pieces));
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** As much of a line as fits into this many columns; `…` replaces the rest. */
export function cut(line: Text, columns: number): Text {
  if (line.width <= columns) return line;
  if (columns < 1) return text``;
  const fitting: Piece[] = [];
  // The ellipsis takes one column.
  let left = columns - 1;
  for (const piece of line.pieces) {
    for (const { segment } of graphemes.segment(piece.text)) {
      left -= Bun.stringWidth(segment);
      if (left < 0) return new Text([...fitting, { text: "…" }]);
      fitting.push({ ...piece, text: segment });
    }
  }
  return line;
}

function piecesOf(value: Value): readonly Piece[] {
  return value instanceof Text ? value.pieces : [{ text: printable(String(value)) }];
}
