import { createTwoFilesPatch, diffArrays } from "diff";
import type { ReportedPermissions } from "../protocol/messages.ts";
import { type Approval, type ApprovalChange, changesOf, type JudgedVersion } from "./approval.ts";
import type { ApprovedModule } from "./lock.ts";
import type { StoredFile } from "./source-store.ts";

/** How one file of a module differs. */
export interface FileDifference {
  readonly path: string;
  readonly change: "added" | "removed" | "changed";
  /** The digests of the approved file and of the current one. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** A unified diff; undefined when the approved source is not in the store. */
  readonly patch: string | undefined;
  /** Lines added and removed; undefined without a patch. */
  readonly added: number | undefined;
  readonly removed: number | undefined;
}

/** What of a module's manifest differs. */
export interface ManifestDifference {
  readonly field: "permissions" | "description" | "schema";
  /** The lines of both, each after ` `, `-` or `+`. */
  readonly lines: readonly string[];
}

/** The approved version of a module beside the one that its server runs now. */
export interface VersionDifference {
  readonly mod: string;
  readonly approval: Approval;
  readonly changes: readonly ApprovalChange[];
  /** Undefined when no version is approved. */
  readonly before: ApprovedModule | undefined;
  /** Undefined when the server no longer has the module. */
  readonly after: (JudgedVersion & { readonly files: readonly StoredFile[] }) | undefined;
  readonly manifest: readonly ManifestDifference[];
  readonly files: readonly FileDifference[];
}

/** Beyond it a file is shown as replaced: finding the shortest difference takes too long. */
const diffTimeoutMs = 1_000;

/**
 * Compares two versions, file by file. `sources` are the approved files, as far as the store has them. Pure.
 */
export function compareVersions(
  mod: string,
  approval: Approval,
  before: ApprovedModule | undefined,
  sources: readonly StoredFile[] | undefined,
  after: VersionDifference["after"],
): VersionDifference {
  const old = new Map(Object.entries(before?.files ?? {}));
  const current = new Map((after?.files ?? []).map((file) => [file.path, file]));
  const known = new Map((sources ?? []).map((file) => [file.path, file]));
  const paths = [...new Set([...current.keys(), ...old.keys()])];
  const files = paths.flatMap((path): FileDifference[] => {
    const was = old.get(path);
    const now = current.get(path);
    if (was === now?.sum) return [];
    const change = was === undefined ? "added" : now === undefined ? "removed" : "changed";
    const oldText = was === undefined ? "" : known.get(path)?.content;
    const patch = oldText === undefined ? undefined : filePatch(path, oldText, now?.content ?? "");
    return [{ path, change, before: was, after: now?.sum, patch, ...countLines(patch) }];
  });
  const changes: ApprovalChange[] =
    before === undefined ? ["new"] : after === undefined ? ["code"] : changesOf(before, after);
  return { mod, approval, changes, before, after, manifest: compareManifests(before, after), files };
}

type Described = Partial<Pick<JudgedVersion, "description" | "permissions" | "input">>;

function compareManifests(before: Described = {}, after: Described = {}): ManifestDifference[] {
  const fields: [ManifestDifference["field"], (of: Described) => string[]][] = [
    ["permissions", ({ permissions }) => permissionLines(permissions)],
    ["description", ({ description }) => linesOf(description ?? "")],
    ["schema", ({ input }) => (input === undefined ? [] : JSON.stringify(input, null, 2).split("\n"))],
  ];
  return fields.flatMap(([field, linesOf]) => {
    const lines = comparedLines(linesOf(before), linesOf(after));
    return lines.some((line) => !line.startsWith(" ")) ? [{ field, lines }] : [];
  });
}

/** One line for each thing that a module may touch. */
function permissionLines(permissions: ReportedPermissions | undefined): string[] {
  if (permissions === undefined) return [];
  if (permissions === "all") return ["all"];
  return Object.entries(permissions).flatMap(([kind, list]) =>
    (Array.isArray(list) ? list : [list]).map((value) => `${kind} ${String(value)}`),
  );
}

function comparedLines(before: readonly string[], after: readonly string[]): string[] {
  const parts = diffArrays([...before], [...after], { timeout: diffTimeoutMs });
  if (parts === undefined) return [...before.map((line) => `-${line}`), ...after.map((line) => `+${line}`)];
  return parts.flatMap(({ added, removed, value }) => {
    const sign = added ? "+" : removed ? "-" : " ";
    return value.map((line) => `${sign}${line}`);
  });
}

function filePatch(path: string, before: string, after: string): string {
  const patch = createTwoFilesPatch(`a/${path}`, `b/${path}`, before, after, undefined, undefined, {
    timeout: diffTimeoutMs,
  });
  return (patch ?? replaced(path, before, after)).replace(/^={3,}\n/, "");
}

/** A patch that removes every line and adds every line. */
function replaced(path: string, before: string, after: string): string {
  const head = `--- a/${path}\n+++ b/${path}\n@@ -${range(before)} +${range(after)} @@\n`;
  return head + signed("-", before) + signed("+", after);
}

function range(text: string): string {
  const { length } = linesOf(text);
  return `${Math.min(1, length)},${length}`;
}

function signed(sign: string, text: string): string {
  const lines = linesOf(text).map((line) => `${sign}${line}\n`);
  return lines.join("") + (text === "" || text.endsWith("\n") ? "" : "\\ No newline at end of file\n");
}

function linesOf(text: string): string[] {
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}

function countLines(patch: string | undefined): Pick<FileDifference, "added" | "removed"> {
  if (patch === undefined) return { added: undefined, removed: undefined };
  // The first two lines name the files.
  const lines = patch.split("\n").slice(2);
  const count = (sign: string) => lines.filter((line) => line.startsWith(sign)).length;
  return { added: count("+"), removed: count("-") };
}
