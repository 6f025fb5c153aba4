import { figure } from "./figure.ts";
import type { Report } from "./results.ts";
import { type RowId, rows } from "./rows.ts";

/** The rows that a user decides by; the whole table stands beside the chart. */
const shown: readonly RowId[] = ["deep.rate", "one.p50", "one.p99", "handshake.perCore"];

const width = 760;
const labelWidth = 230;
const valueWidth = 80;
const barHeight = 16;
const barGap = 6;
const groupGap = 30;

/**
 * Horizontal bars, one group a row, as an SVG that reads on a light and on a dark page. Where more is better the
 * raw limit is left out of the scale: beside it every other bar would be a hair.
 */
export function chart(report: Report): string {
  const parts: string[] = [];
  let y = 10;
  for (const id of shown) {
    const row = rows.find((candidate) => candidate.id === id);
    if (row === undefined) continue;
    const bars = report.stacks.flatMap((stack) => {
      const value = report.cells[stack.id]?.[id]?.median;
      const isLimit = id === "deep.rate" && (stack.id === "raw" || stack.id === "bare");
      return value === undefined || isLimit ? [] : [{ ...stack, value }];
    });
    if (bars.length === 0) continue;
    bars.sort((a, b) => (row.better === "more" ? b.value - a.value : a.value - b.value));
    const longest = Math.max(...bars.map(({ value }) => value));
    y += 14;
    parts.push(text(0, y, `${row.title}, ${row.unit} (${row.better} is better)`, "title"));
    y += 10;
    for (const bar of bars) {
      const length = Math.max(1, ((width - labelWidth - valueWidth) * bar.value) / longest);
      const style = bar.id === "veripy" ? "own" : "other";
      parts.push(
        text(labelWidth - 8, y + 12, bar.title, "label"),
        `<rect class="${style}" x="${labelWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" rx="2"/>`,
        text(labelWidth + length + 6, y + 12, figure(bar.value), "value"),
      );
      y += barHeight + barGap;
    }
    y += groupGap - barGap;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" role="img" aria-label="VeriPy beside its peers">
<style>
text{font:12px system-ui,sans-serif;fill:#444}.title{font-weight:600}.label{text-anchor:end}
.own{fill:#2f6fdb}.other{fill:#b4bcc8}
@media(prefers-color-scheme:dark){text{fill:#ccc}.own{fill:#6ea2ff}.other{fill:#5a6270}}
</style>
${parts.join("\n")}
</svg>
`;
}

function text(x: number, y: number, content: string, style: string): string {
  return `<text class="${style}" x="${x.toFixed(1)}" y="${y}">${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
