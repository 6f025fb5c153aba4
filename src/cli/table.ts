import { cut, joined, type Text, text, type Value } from "./text.ts";

/** A longer cell does not widen its column. */
const maxColumnWidth = 60;

/** However narrow a terminal is, this much of the last column is shown. */
const minLastWidth = 12;

/**
 * Rows as lines with aligned columns, even if some characters are two columns wide. With `columns`, the last cell of each
 * full row is cut so that the line has at most that many: see `tableRow`.
 */
export function table(
  rows: readonly (readonly Value[])[],
  columns: number = Number.POSITIVE_INFINITY,
): Text[] {
  const cells = rows.map((row) => row.map((cell) => text`${cell}`));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.min(maxColumnWidth, Math.max(widths[column] ?? 0, cell.width));
    }
  }
  return cells.map((row) => tableRow(row, widths, columns));
}

/**
 * One line of a table with these column widths: each cell is padded to its column's width. Only the last column, which
 * holds a description, is cut to fit into `columns`; names and digests are shown whole, even where that takes two lines.
 */
export function tableRow(
  cells: readonly Value[],
  widths: readonly number[],
  columns: number = Number.POSITIVE_INFINITY,
): Text {
  const shown = cells.map((cell) => text`${cell}`);
  const end = 1 + shown.findLastIndex((cell) => cell.width > 0);
  let left = columns;
  return joined(
    shown.slice(0, end).map((cell, column) => {
      if (column === cells.length - 1) return cut(cell, Math.max(left, minLastWidth));
      if (column === end - 1) return cell;
      left -= 2 + Math.max(widths[column] ?? 0, cell.width);
      return text`${cell}${" ".repeat(2 + Math.max(0, (widths[column] ?? 0) - cell.width))}`;
    }),
  );
}
