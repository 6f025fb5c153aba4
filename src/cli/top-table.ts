import type { Approval, ModuleActivity } from "../index.ts";
import { milliseconds } from "./module-stats.ts";
import { cut, joined, type Style, styled, type Text, text } from "./text.ts";

/** A version of a module as a line of `top`. */
export interface TopRow extends ModuleActivity {
  readonly approval: Approval;
}

/** What `top` sorts by, as keys name it. */
export const sortOrders = {
  c: { name: "calls/s", of: (row: TopRow) => row.callsPerSecond },
  m: { name: "memory", of: (row: TopRow) => row.memoryBytes ?? 0 },
  p: { name: "p99", of: (row: TopRow) => row.p99Ms ?? 0 },
  f: { name: "in flight", of: (row: TopRow) => row.inFlight },
  n: { name: "name", of: undefined },
} as const;

export type SortKey = keyof typeof sortOrders;

export interface TopOrder {
  readonly key: SortKey;
  /** From the smallest to the largest, or from Z to A. */
  readonly isReversed: boolean;
}

/** Numbers are sorted from the largest down, names from A to Z; rows that are equal, by name. Pure. */
export function sortRows(rows: readonly TopRow[], { key, isReversed }: TopOrder): TopRow[] {
  const { of } = sortOrders[key];
  const byName = (a: TopRow, b: TopRow) => compare(a.mod, b.mod) || Number(b.current) - Number(a.current);
  const sign = isReversed ? -1 : 1;
  return rows.toSorted((a, b) =>
    of === undefined ? sign * byName(a, b) : sign * (of(b) - of(a)) || byName(a, b),
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

interface Column {
  readonly header: string;
  readonly width: number;
  /** Columns with the highest number go first when there is no room for all. */
  readonly drop: number;
  readonly isNumber?: boolean;
  cell(row: TopRow): string;
  style?(row: TopRow): Style | undefined;
}

const approvalStyles: Record<Approval["state"], Style | undefined> = {
  approved: "green",
  pending: "yellow",
  denied: "red",
  "not approved": undefined,
};

const columns: readonly Column[] = [
  {
    header: "approval",
    width: 12,
    drop: 4,
    cell: ({ approval }) => approval.state,
    style: ({ approval }) => approvalStyles[approval.state],
  },
  {
    header: "state",
    width: 7,
    drop: 3,
    cell: ({ state }) => state,
    style: ({ state }) => (state === "failing" ? "red" : undefined),
  },
  {
    header: "calls/s",
    width: 8,
    drop: 1,
    isNumber: true,
    cell: ({ callsPerSecond }) => perSecond(callsPerSecond),
  },
  { header: "p50", width: 8, drop: 8, isNumber: true, cell: ({ p50Ms }) => milliseconds(p50Ms) },
  { header: "p99", width: 8, drop: 2, isNumber: true, cell: ({ p99Ms }) => milliseconds(p99Ms) },
  { header: "memory", width: 10, drop: 5, isNumber: true, cell: ({ memoryBytes }) => mebibytes(memoryBytes) },
  { header: "in flight", width: 9, drop: 6, isNumber: true, cell: ({ inFlight }) => String(inFlight) },
  { header: "failed", width: 6, drop: 7, isNumber: true, cell: ({ failures }) => String(failures) },
];

const gap = 2;
const leastNameWidth = 12;
const mostNameWidth = 40;

/**
 * A header and a line for each row, none of them wider than `width`: columns go by importance until the rest fits, and longer
 * names are cut. Pure.
 */
export function topTable(rows: readonly TopRow[], width: number): Text[] {
  const names = rows.map((row) => text`${nameOf(row)}`);
  const wanted = Math.min(mostNameWidth, Math.max(leastNameWidth, ...names.map((name) => name.width)));
  const shown = columnsFor(width);
  const nameWidth = Math.max(1, Math.min(wanted, width - widthOf(shown)));
  const header = rowText("module", nameWidth, shown, ({ header }) => styled("bold", header));
  const body = rows.map((row, index) =>
    rowText(names[index] ?? "", nameWidth, shown, (column) => cellText(column, row)),
  );
  return [header, ...body];
}

function columnsFor(width: number): Column[] {
  const shown = [...columns];
  while (shown.length > 0 && widthOf(shown) + leastNameWidth > width) {
    const least = shown.reduce((a, b) => (a.drop > b.drop ? a : b));
    shown.splice(shown.indexOf(least), 1);
  }
  return shown;
}

function widthOf(shown: readonly Column[]): number {
  return shown.reduce((sum, column) => sum + gap + column.width, 0);
}

function rowText(
  name: Text | string,
  nameWidth: number,
  shown: readonly Column[],
  cellOf: (column: Column) => Text,
): Text {
  const cells = shown.map((column) => {
    const cell = cellOf(column);
    const padding = " ".repeat(Math.max(0, column.width - cell.width));
    return column.isNumber ? text`  ${padding}${cell}` : text`  ${cell}${padding}`;
  });
  const first = cut(text`${name}`, nameWidth);
  return joined([first, text`${" ".repeat(nameWidth - first.width)}`, ...cells]);
}

/** What a server says may be too long for its column. */
function cellText(column: Column, row: TopRow): Text {
  const cell = cut(text`${column.cell(row)}`, column.width);
  const style = column.style?.(row);
  return style === undefined ? cell : styled(style, cell.plain);
}

function nameOf({ mod, current }: TopRow): string {
  return current ? mod : `${mod} (old)`;
}

function perSecond(value: number): string {
  return value === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function mebibytes(bytes: number | undefined): string {
  return bytes === undefined ? "-" : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}
