import type { FileDifference, VersionDifference } from "../index.ts";
import { approvalJson, approvalText, decidedText } from "./approval-text.ts";
import { diffLines, patchText } from "./patch-text.ts";
import { styled, type Text, text } from "./text.ts";

/** Whether two versions differ in anything that was approved. */
export function differs({ changes, files }: VersionDifference): boolean {
  return changes.length > 0 || files.length > 0;
}

/** For `--json`; with `stat` without the patches. */
export function differenceJson(difference: VersionDifference, isEnforced: boolean, stat: boolean): object {
  const { mod, approval, changes, before, after, manifest, files } = difference;
  return {
    mod,
    ...approvalJson(approval),
    changed: changes,
    before: before && {
      tree: before.tree,
      approvedAt: before.approved_at,
      approvedBy: before.approved_by,
      note: before.note,
    },
    after: after && { tree: after.tree },
    permissionsEnforced: isEnforced,
    manifest,
    files: stat ? files.map(({ patch: _, ...file }) => file) : files,
  };
}

/** The two versions, in two or three lines. */
export function headLines({ mod, approval, before, after }: VersionDifference): Text[] {
  return [
    text`${styled("bold", mod)}  ${approvalText(approval)}`,
    before === undefined
      ? text`  approved  nothing`
      : text`  approved  ${before.tree}  ${decidedText(before)}`,
    after === undefined
      ? text`  current   nothing: the server no longer has it`
      : text`  current   ${after.tree ?? after.sum}`,
  ];
}

/** What differs: permissions and schema first, then every file. */
export function differenceLines(difference: VersionDifference): Text[] {
  return [...headLines(difference), ...manifestLines(difference), ...difference.files.flatMap(fileLines)];
}

/** One line for each file. */
export function statLines(difference: VersionDifference): Text[] {
  const { manifest, files } = difference;
  return [
    ...headLines(difference),
    ...manifest.map(({ field }) => text`  ${field}`),
    ...files.map(({ path, change, added, removed }) => {
      const counts = [styled("green", `+${added ?? "?"}`), styled("red", `-${removed ?? "?"}`)] as const;
      return text`  ${path}  ${change}  ${counts[0]} ${counts[1]}`;
    }),
  ];
}

function manifestLines({ manifest }: VersionDifference): Text[] {
  return manifest.flatMap(({ field, lines }) => [
    text`${styled("bold", field)}`,
    ...(field === "permissions" ? permissionLines(lines) : diffLines(lines)),
  ]);
}

function permissionLines(lines: readonly string[]): Text[] {
  return lines.flatMap((line) =>
    line === "+all" ? [text`${styled("red", "+all")} (it runs without a sandbox)`] : diffLines([line]),
  );
}

function fileLines(file: FileDifference): Text[] {
  const { path, change, before, after, patch } = file;
  if (patch !== undefined) return patchText(patch);
  return [
    text`${styled("bold", path)}  ${change}; its approved source is not in the store here, only its digest is known`,
    ...(before === undefined ? [] : [styled("red", `-${before}`)]),
    ...(after === undefined ? [] : [styled("green", `+${after}`)]),
  ];
}
