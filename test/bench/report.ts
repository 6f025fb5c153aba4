/** `bun run bench:report`: renders bench.json as Markdown on standard output, and as docs/bench.svg. */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { chart } from "./chart.ts";
import { figure } from "./figure.ts";
import { requirementLines } from "./requirements.ts";
import type { Report } from "./results.ts";
import { rows } from "./rows.ts";

const root = dirname(dirname(import.meta.dir));
const path = join(root, "bench.json");

let report: Report;
try {
  report = JSON.parse(readFileSync(path, "utf8")) as Report;
} catch (error) {
  console.error(`bench:report: Cannot read ${path}; run 'bun run bench' first. (${error})`);
  process.exit(1);
}
writeFileSync(join(root, "docs/bench.svg"), chart(report));
console.log(markdown(report));

function markdown(report: Report): string {
  const stacks = report.stacks.filter(({ missing }) => missing === undefined);
  const of = (stack: string, row: (typeof rows)[number]): string => {
    const cell = report.cells[stack]?.[row.id];
    if (cell === undefined) return "–";
    const range = cell.samples.length > 1 ? ` <sub>${figure(cell.min)}–${figure(cell.max)}</sub>` : "";
    return `${figure(cell.median)}${cell.generatorBound ? "*" : ""}${range}`;
  };
  const table = [
    `| | ${stacks.map(({ title }) => title).join(" | ")} |`,
    `|---|${stacks.map(() => "---:").join("|")}|`,
    ...rows
      .filter((row) => stacks.some(({ id }) => report.cells[id]?.[row.id] !== undefined))
      .map((row) => `| ${row.title}, ${row.unit} | ${stacks.map(({ id }) => of(id, row)).join(" | ")} |`),
  ];
  const required = [
    "| | measured | | |",
    "|---|---:|---|---|",
    ...requirementLines(report).map(
      ({ what, value, marks, word }) => `| ${what} | ${value} | ${word} | ${marks} |`,
    ),
  ];
  const missing = report.stacks.flatMap(({ title, missing }) => (missing ? [`${title}: ${missing}.`] : []));
  const { processor, memory, system, ...programs } = report.machine;
  return [
    ...table,
    "",
    `Medians of ${report.rounds} round${report.rounds === 1 ? "" : "s"}${report.quick ? " (quick)" : ""}, in small type the lowest and the highest. * The load generator was at its limit, the server was not.`,
    ...missing,
    "",
    `${processor}, ${memory}, ${system}; ${Object.entries(programs)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ")}. Commit ${report.commit}, ${report.at.slice(0, 10)}.`,
    "",
    ...required,
  ].join("\n");
}
