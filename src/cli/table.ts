import { joined, type Text, text, type Value } from "./text.ts";

/** A longer cell does not widen its column. */
const maxColumnWidth = 60;

/** Rows as lines with aligned columns, even if some characters are two columns wide. */
export function table(rows: readonly (readonly Value[])[]): Text[] {
  const cells = rows.map((row) => row.map((cell) => text`${cell}`));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.min(maxColumnWidth, Math.max(widths[column] ?? 0, cell.width));
    }
  }
  return cells.map((row) => tableRow(row, widths));
}

/** One line of a table with these column widths: each cell is padded to its column's width, and never cut. */
export function tableRow(cells: readonly Value[], widths: readonly number[]): Text {
  const shown = cells.map((cell) => text`${cell}`);
  const end = 1 + shown.findLastIndex((cell) => cell.width > 0);
  return joined(
    shown.slice(0, end).map((cell, column) => {
      if (column === end - 1) return cell;
      return text`${cell}${" ".repeat(2 + Math.max(0, (widths[column] ?? 0) - cell.width))}`;
    }),
  );
}
