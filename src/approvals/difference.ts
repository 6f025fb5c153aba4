import { createTwoFilesPatch } from "diff";
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

/** The approved version of a module beside the one that its server runs now. */
export interface VersionDifference {
  readonly mod: string;
  readonly approval: Approval;
  readonly changes: readonly ApprovalChange[];
  /** Undefined when no version is approved. */
  readonly before: ApprovedModule | undefined;
  /** Undefined when the server no longer has the module. */
  readonly after: (JudgedVersion & { readonly files: readonly StoredFile[] }) | undefined;
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
  return { mod, approval, changes, before, after, files };
}

function filePatch(path: string, before: string, after: string): string {
  const patch = createTwoFilesPatch(`a/${path}`, `b/${path}`, before, after, undefined, undefined, {
    timeout: diffTimeoutMs,
  });
  return (patch ?? replaced(path, before, after)).replace(/^={3,}\n/, "");
}

/** A patch that removes every line and adds every line. */
function replaced(path: string, before: string, after: string): string {
  const [old, now] = [linesOf(before), linesOf(after)];
  const head = `--- a/${path}\n+++ b/${path}\n@@ -1,${old.length} +1,${now.length} @@\n`;
  return `${head}${[...old.map((line) => `-${line}`), ...now.map((line) => `+${line}`)].join("\n")}\n`;
}

function linesOf(text: string): string[] {
  return text.replace(/\n$/, "").split("\n");
}

function countLines(patch: string | undefined): Pick<FileDifference, "added" | "removed"> {
  if (patch === undefined) return { added: undefined, removed: undefined };
  // The first two lines name the files.
  const lines = patch.split("\n").slice(2);
  const count = (sign: string) => lines.filter((line) => line.startsWith(sign)).length;
  return { added: count("+"), removed: count("-") };
}
