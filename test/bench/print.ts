import { figure } from "./figure.ts";
import { requirementLines } from "./requirements.ts";
import type { Cell, Report } from "./results.ts";
import { rows } from "./rows.ts";

/** The whole report as text: a table of stacks and rows for each group of rows, then the requirements. */
export function printReport(report: Report): void {
  const measured = report.stacks.filter(({ missing }) => missing === undefined);
  for (const row of rows) {
    const cells = measured.flatMap(({ id, title }) => {
      const cell = report.cells[id]?.[row.id];
      return cell === undefined ? [] : [{ id, title, cell }];
    });
    if (cells.length === 0) continue;
    console.log(`\n${row.title}, ${row.unit} (${row.better} is better)`);
    const limit = report.cells.raw?.[row.id]?.median;
    for (const { id, title, cell } of cells) {
      const ratio = limit === undefined || id === "raw" ? "" : `${(cell.median / limit).toFixed(2)} × raw`;
      console.log(
        `  ${title.padEnd(34)} ${figure(cell.median).padStart(9)}  ${range(cell).padEnd(19)} ${ratio}${note(cell)}`,
      );
    }
  }
  console.log("\nrequirements");
  for (const { what, value, marks, word } of requirementLines(report)) {
    console.log(`  ${what.padEnd(48)} ${value.padStart(9)}   ${word.padEnd(12)} (${marks})`);
  }
}

function range({ min, max, samples }: Cell): string {
  return samples.length > 1 ? `${figure(min)} – ${figure(max)}` : "";
}

function note({ generatorBound }: Cell): string {
  return generatorBound ? "  the generator is the bottleneck" : "";
}
