import { VeripyError } from "./errors.ts";
import { refuseWorldWritable } from "./file-modes.ts";
import { readTextIfThere } from "./files.ts";
import { reasonOf } from "./plain-reason.ts";

const maxFileBytes = 64 * 1024;
/** Finding the line of a key takes time that grows with the square of it. */
const maxLines = 1_000;

/** A table, as `Bun.TOML.parse` returns it. */
export type TomlTable = Readonly<Record<string, unknown>>;

export interface ParsedToml {
  readonly value: TomlTable;
  /** The line on which the statement begins that gives this key its value; undefined when nothing does. */
  lineOf(path: readonly PropertyKey[]): number | undefined;
}

/**
 * Reads a settings file; undefined when it does not exist. Throws `bad_config` when it can't be read or is not TOML, and
 * `bad_identity` when every user may write to it.
 */
export async function readToml(path: string): Promise<ParsedToml | undefined> {
  await refuseWorldWritable(path);
  let text: string | undefined;
  try {
    text = await readTextIfThere(path, maxFileBytes);
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot read ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  return text === undefined ? undefined : parseToml(text, path);
}

/** Parses TOML 1.0. Errors are `bad_config` and say `<file>: line 3: …`; the parser itself does not say where it stopped. */
export function parseToml(text: string, file: string): ParsedToml {
  const lines = text.split("\n");
  if (lines.length > maxLines)
    throw new VeripyError("bad_config", `Cannot read ${file}: it has more than ${maxLines} lines.`);
  try {
    const value = Bun.TOML.parse(text) as TomlTable;
    return { value, lineOf: (path) => lineOf(path, lines) };
  } catch (error) {
    const line = 1 + ([...beginnings(lines)].at(-1)?.end ?? 0);
    throw new VeripyError("bad_config", `${file}: line ${line}: ${faultOf(error)}.`, { cause: error });
  }
}

/** A beginning of a text that is TOML by itself, with the lines of its last statement. */
interface Beginning {
  readonly value: TomlTable;
  readonly start: number;
  readonly end: number;
}

/** All of them. A statement on several lines is complete only at its last one. */
function* beginnings(lines: readonly string[]): Generator<Beginning> {
  let start = 1;
  let text = "";
  for (const [index, line] of lines.entries()) {
    text += `${line}\n`;
    const value = tableIn(text);
    if (value === undefined) continue;
    const end = index + 1;
    yield { value, start, end };
    start = end + 1;
  }
}

function tableIn(text: string): TomlTable | undefined {
  try {
    return Bun.TOML.parse(text) as TomlTable;
  } catch {
    return undefined;
  }
}

function lineOf(path: readonly PropertyKey[], lines: readonly string[]): number | undefined {
  for (const { value, start } of beginnings(lines)) if (hasKey(value, path)) return start;
  return undefined;
}

function hasKey(value: unknown, path: readonly PropertyKey[]): boolean {
  let inner: unknown = value;
  for (const key of path) {
    if (typeof inner !== "object" || inner === null || !Object.hasOwn(inner, key)) return false;
    inner = (inner as Record<PropertyKey, unknown>)[key];
  }
  return true;
}

function faultOf(error: unknown): string {
  if (error instanceof RangeError) return "nested too deeply";
  const message = reasonOf(error).replace(/^TOML Parse error: /, "");
  return message.charAt(0).toLowerCase() + message.slice(1);
}
