/** One terminal: its title, and everything it was sent, escape sequences included. */
export interface RecordedTerminal {
  readonly title: string;
  readonly output: string;
}

/** A run of characters of one colour. `style` is a class of the picture's style sheet; empty: the default. */
interface Span {
  readonly text: string;
  readonly style: string;
}

const columnWidth = 7.2;
const lineHeight = 17;
const margin = 14;
const titleHeight = 26;
const gap = 12;

/** The SGR colours (ECMA-48) that the commands use. */
const styles: Record<string, string> = { "31": "red", "32": "green", "33": "yellow", "90": "gray" };

/** Draws terminals of `columns` columns below each other, longer lines wrapped as a terminal wraps them. */
export function terminalSvg(terminals: readonly RecordedTerminal[], columns: number): string {
  const width = Math.ceil(columns * columnWidth + 2 * margin);
  const parts: string[] = [];
  let y = 0;
  for (const { title, output } of terminals) {
    const rows = rowsOf(output, columns);
    const height = titleHeight + rows.length * lineHeight + margin;
    parts.push(
      `<rect class="window" x="0.5" y="${y + 0.5}" width="${width - 1}" height="${height}" rx="6"/>`,
      `<text class="title" x="${width / 2}" y="${y + 18}">${escapeXml(title)}</text>`,
    );
    rows.forEach((row, index) => {
      const baseline = y + titleHeight + (index + 1) * lineHeight - 4;
      if (row.length > 0) parts.push(`<text y="${baseline}">${row.map(tspan).join("")}</text>`);
    });
    y += height + gap;
  }
  const height = y - gap + 1;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(terminals.map(({ title }) => title).join(", "))}">
<style>
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d8dee6;white-space:pre}
.window{fill:#14181f;stroke:#39414d}.title{text-anchor:middle;fill:#8b95a3}
.typed{fill:#fff;font-weight:600}.red{fill:#ff7b72}.green{fill:#7ee787}.yellow{fill:#e3b341}.gray{fill:#8b95a3}
</style>
${parts.join("\n")}
</svg>
`;

  function tspan({ text, style }: Span, index: number, row: readonly Span[]): string {
    const column = row.slice(0, index).reduce((sum, span) => sum + span.text.length, 0);
    // The length is fixed, so that columns stand below each other in whatever font there is.
    const place = `x="${(margin + column * columnWidth).toFixed(1)}" textLength="${(text.length * columnWidth).toFixed(1)}"`;
    return `<tspan ${place}${style === "" ? "" : ` class="${style}"`}>${escapeXml(text)}</tspan>`;
  }
}

/** The rows on the screen. Throws for a control sequence that is neither a colour nor a line break. */
function rowsOf(output: string, columns: number): Span[][] {
  let style = "";
  const rows: Span[][] = [];
  for (const line of output.replaceAll("\r\n", "\n").replace(/\n+$/, "").split("\n")) {
    const spans: Span[] = [];
    for (const piece of line.split(/(\x1b\[[0-9;]*m)/)) {
      const codes = /^\x1b\[([0-9;]*)m$/.exec(piece)?.[1];
      if (codes !== undefined) style = codes.split(";").reduce((_, code) => styles[code] ?? "", "");
      else if (/\p{Cc}/u.test(piece)) throw new Error(`Cannot draw ${JSON.stringify(piece)}.`);
      else if (piece !== "") spans.push({ text: piece, style });
    }
    const isTyped = spans.length === 1 && spans[0]?.text.startsWith("$ ");
    rows.push(...wrapped(isTyped ? spans.map(({ text }) => ({ text, style: "typed" })) : spans, columns));
  }
  return rows;
}

function wrapped(spans: readonly Span[], columns: number): Span[][] {
  const rows: Span[][] = [[]];
  let free = columns;
  for (const { text, style } of spans) {
    for (let rest = text; rest !== ""; ) {
      if (free === 0) {
        rows.push([]);
        free = columns;
      }
      const piece = rest.slice(0, free);
      rows.at(-1)?.push({ text: piece, style });
      free -= piece.length;
      rest = rest.slice(piece.length);
    }
  }
  return rows;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
