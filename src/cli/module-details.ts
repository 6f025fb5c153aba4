import type { DeclaredPermissions, ModuleLimits, ReportedPermissions } from "../index.ts";
import { snakeKeys } from "../index.ts";
import { argumentRows } from "./argument-rows.ts";
import { table } from "./table.ts";
import { joined, styled, type Text, text } from "./text.ts";

/** What a module is and may touch, as `describe` and `check` print it. */
export interface ModuleDetails {
  readonly mod: string;
  readonly tree: string;
  readonly description: string | undefined;
  readonly input: Record<string, unknown> | undefined;
  readonly limits: ModuleLimits | undefined;
  /** Undefined if unknown, because the source cannot be read. */
  readonly permissions: DeclaredPermissions | undefined;
  readonly describedBy: "source" | "server";
  readonly files: readonly { readonly path: string; readonly sum: string }[];
}

/** For `--json`. */
export function detailsJson(details: ModuleDetails): object {
  const { mod, tree, description, input, limits, permissions, describedBy, files } = details;
  return {
    mod,
    tree,
    description,
    input,
    limits: limits && snakeKeys(limits),
    permissions,
    describedBy,
    files: files.map(({ path, sum }) => ({ path, sum })),
  };
}

/** Indented lines for a person, to stand below a line with the module's name and description. */
export function detailsText(details: ModuleDetails): Text[] {
  const { tree, input, limits, permissions, describedBy, files } = details;
  const fields: [name: string, value: Text][] = [
    ["permissions", permissionsText(permissions)],
    ["tree", text`${tree}`],
    ["described by", text`${describers[describedBy]}`],
    ["limits", text`${limitsText(limits)}`],
  ];
  if (input === undefined) fields.push(["arguments", text`any text`]);
  const rows = input === undefined ? [] : table(argumentRows(input));
  return [
    ...table(fields),
    ...(input === undefined ? [] : [text`arguments`, ...rows.map((row) => text`  ${row}`)]),
    text`files`,
    // In the form that `sha256sum` prints, so that the two can be compared.
    ...files.map(({ path, sum }) => text`  ${sum}  ${path}`),
  ].map((line) => text`  ${line}`);
}

const describers = {
  source: "its source",
  server: "the server: the description and the arguments cannot be read in the source",
} as const;

/** All that a module may touch: `none`, `read /var/log, /srv; run git`, or a red `all`. */
export function permissionsText(permissions: DeclaredPermissions | undefined): Text {
  if (permissions === undefined) return text`unknown: the source cannot be read`;
  if (permissions === "all") return joined([styled("red", "all"), text` (it runs without a sandbox)`]);
  const kinds = Object.entries(permissions).map(
    ([kind, list]: [string, readonly (string | number)[]]) => `${kind} ${list.map(quoted).join(", ")}`,
  );
  return text`${kinds.length === 0 ? "none" : kinds.join("; ")}`;
}

/** In quotes if it could be taken for several values. */
function quoted(value: string | number): string {
  return /^[^\s,;"]+$/.test(String(value)) ? String(value) : JSON.stringify(value);
}

/** For a line of a list, before a description, which could imitate it: `[read, run] `, a red `[all] `, or nothing. */
export function permissionsTag(permissions: ReportedPermissions | undefined): Text {
  if (permissions === "all") return joined([styled("red", "[all]"), text` `]);
  const kinds = Object.keys(permissions ?? {});
  if (kinds.length === 0) return text``;
  // A server may report any number.
  return text`[${kinds.slice(0, 5).join(", ")}${kinds.length > 5 ? ", …" : ""}] `;
}

function limitsText(limits: ModuleLimits = {}): string {
  const own = Object.entries(limits).map(([name, value]) => `${name} ${value}`);
  return own.length === 0 ? "the server's" : `${own.join(", ")}; else the server's`;
}
