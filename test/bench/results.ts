import { type Spread, spreadOf } from "./harness/statistics.ts";
import { type RowId, rows } from "./rows.ts";

/** What a run of the benchmark leaves behind, in bench.json. */
export interface Report {
  readonly at: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly commit: string;
  readonly machine: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, number>>;
  readonly stacks: readonly { readonly id: string; readonly title: string; readonly missing?: string }[];
  readonly cells: Readonly<Record<string, Partial<Record<RowId, Cell>>>>;
}

export interface Cell extends Spread {
  /** Every round's figure, in order. */
  readonly samples: readonly number[];
  /** The load generator was at its limit and the server was not: the server could do more. */
  readonly generatorBound?: true;
}

/** Collects figures while a run goes on. */
export class Samples {
  readonly #figures = new Map<string, { values: number[]; bound: number }>();

  /** Throws for what is no number: a figure that was not measured must not look like one. */
  add(stack: string, row: RowId, value: number, generatorBound = false): void {
    if (!Number.isFinite(value)) throw new Error(`Nothing was measured for '${row}' of ${stack}.`);
    const key = `${stack} ${row}`;
    const figures = this.#figures.get(key) ?? { values: [], bound: 0 };
    figures.values.push(value);
    if (generatorBound) figures.bound++;
    this.#figures.set(key, figures);
  }

  cells(stacks: readonly { id: string }[]): Record<string, Partial<Record<RowId, Cell>>> {
    const cells: Record<string, Partial<Record<RowId, Cell>>> = {};
    for (const { id } of stacks) {
      const column: Partial<Record<RowId, Cell>> = {};
      for (const row of rows) {
        const figures = this.#figures.get(`${id} ${row.id}`);
        if (figures === undefined) continue;
        column[row.id] = {
          ...spreadOf(figures.values),
          samples: figures.values,
          ...(figures.bound * 2 > figures.values.length ? { generatorBound: true } : {}),
        };
      }
      cells[id] = column;
    }
    return cells;
  }
}
