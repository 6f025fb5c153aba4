import type { Option } from "commander";
import { table } from "./table.ts";
import { outputIsTerminal, printAll, printJson } from "./ui.ts";

/** A setting, as `config` prints it. */
export interface SettingRow {
  readonly setting: string;
  /** Undefined when it has none. */
  readonly value: string | boolean | undefined;
  /** A flag, a variable, a line of a file, or `default`. */
  readonly from: string;
  /** For a path: whether it leads to something. */
  readonly exists?: boolean;
}

/** Prints the rows, with `json` as one object each. On a terminal they have a header. */
export function printSettings(rows: readonly SettingRow[], json: boolean): void {
  if (json) {
    for (const { setting, value = null, from, exists } of rows) printJson({ setting, value, from, exists });
    return;
  }
  const lines = rows.map(({ setting, value = "-", from, exists }) => [
    setting,
    `${value}${exists === false ? " (does not exist)" : ""}`,
    from,
  ]);
  printAll(table([...(outputIsTerminal() ? [["setting", "value", "from"]] : []), ...lines]));
}

type Kind = "duration" | "minutes" | "size" | "count";

/** Numbers as the flags of each kind take them. */
export const formatters: Record<Kind, (value: number) => string> = {
  minutes: (ms) => `${ms / 60_000}`,
  duration: (ms) => (ms % 60_000 === 0 && ms > 0 ? `${ms / 60_000}m` : `${ms / 1_000}s`),
  size: (bytes) => {
    if (bytes % 1024 !== 0) return String(bytes);
    return bytes % 1024 ** 2 === 0 && bytes > 0 ? `${bytes / 1024 ** 2}MiB` : `${bytes / 1024}KiB`;
  },
  count: String,
};

/** An option's value, as its flag would take it; undefined when it has none. */
export function valueText(option: Option, value: unknown): string | boolean | undefined {
  if (value === undefined || typeof value === "boolean")
    return value ?? (option.isBoolean() ? false : undefined);
  const kind = /<(\w+)>/.exec(option.flags)?.[1] ?? "";
  if (typeof value === "number" && kind in formatters) return formatters[kind as Kind](value);
  if (Array.isArray(value)) return value.join(",");
  if (typeof value !== "object" || value === null) return String(value);
  // A parsed HOST:PORT: `--host` has `host`, `--metrics` has `hostname`.
  const { host, hostname, port } = value as { host?: string; hostname?: string; port?: number };
  return `${host ?? hostname}${port === undefined ? "" : `:${port}`}`;
}
