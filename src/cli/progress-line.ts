import type { ExecProgress } from "../index.ts";
import { cut, type Text, text } from "./text.ts";

const barWidth = 24;
/** On a narrower terminal, the bar would leave no room for the message. */
const minColumnsForBar = 50;
/** More of a message never fits, so the rest need not be escaped. */
const maxMessageLength = 1024;

/** A call's progress for a terminal with this many columns: `[======>     ]  45 %  copying`. */
export function progressLine({ fraction, message = "" }: ExecProgress, columns: number): Text {
  // A terminal wraps the line when its last column is used.
  const room = Math.max(0, columns - 1);
  const said = message.slice(0, maxMessageLength);
  // The dots show that the message is the module's, and not a message of this program.
  if (fraction === undefined) return cut(text`... ${said}`, room);
  const percent = `${String(Math.floor(fraction * 100)).padStart(3)} %`;
  const bar = columns < minColumnsForBar ? "" : `${barOf(fraction)} `;
  return cut(text`${bar}${percent}  ${said}`, room);
}

function barOf(fraction: number): string {
  const done = "=".repeat(Math.floor(fraction * barWidth));
  const head = fraction < 1 ? ">" : "";
  return `[${`${done}${head}`.padEnd(barWidth)}]`;
}
