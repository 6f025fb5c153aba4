import type { ExecProgress } from "../index.ts";
import { cut, type Text, text } from "./text.ts";

const barWidth = 24;
/** Narrower than this, the bar would leave no room for the message. */
const minColumnsForBar = 50;
/** More of a message never fits, and a long one would be escaped in vain. */
const maxMessageLength = 1024;

/** What a terminal of so many columns shows of a call's progress: `[======>     ]  45 %  copying`. */
export function progressLine({ fraction, message = "" }: ExecProgress, columns: number): Text {
  // A terminal breaks a line when its last column is taken.
  const room = Math.max(0, columns - 1);
  const said = message.slice(0, maxMessageLength);
  // A message of its own must not look like a line of this program.
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
