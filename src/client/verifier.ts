import { VeripyError } from "../base/errors.ts";
import { type Sha256Hex, sha256Hex } from "../base/sha256.ts";
import type { ModuleReport, VerifyResponse } from "../protocol/messages.ts";
import { type TreeEntry, treeSum } from "../protocol/tree.ts";

/** One thing that is not what it should be. */
export interface Mismatch {
  /** What was compared: `hello.ts`, `lib/format.ts`, or `the tree of hello.ts`. */
  readonly what: string;
  /** Who said what to expect. */
  readonly by: "the report" | "the answer";
  readonly expected: string;
  readonly actual: string;
}

export interface VerifiedFile extends TreeEntry {
  readonly content: string;
}

/** A module whose every byte was hashed here and is what the server reported. */
export interface VerifiedModule {
  readonly verified: true;
  readonly mod: string;
  readonly desc: string;
  readonly sum: Sha256Hex;
  /** Computed here, also when the server knows nothing of trees. */
  readonly tree: Sha256Hex;
  /** The module's file first, then what it imports. */
  readonly files: readonly VerifiedFile[];
  /** Whether the server takes an exec that names this tree. */
  readonly isCallable: boolean;
}

export interface RejectedModule {
  readonly verified: false;
  readonly mod: string;
  readonly mismatches: readonly Mismatch[];
}

export type Verdict = VerifiedModule | RejectedModule;

/** A module is not what the server said it is. `verdict` has every mismatch. */
export class VerificationError extends VeripyError {
  readonly verdict: RejectedModule;

  constructor(verdict: RejectedModule) {
    const clauses = verdict.mismatches.map(
      ({ what, by, expected, actual }) => `${what}: ${by} says ${expected}, received was ${actual}`,
    );
    super("verification_failed", `${verdict.mod} is not trusted. ${clauses.join("; ")}.`);
    this.name = "VerificationError";
    this.verdict = verdict;
  }
}

/**
 * Compares the bytes that were received with everything that was said of them: by the report (sync or
 * broadcast, the latest), and by the answer itself. Pure; nothing counts because somebody said so, the sums
 * are all computed here.
 */
export function verifyModule(report: ModuleReport, answer: VerifyResponse): Verdict {
  const mismatches: Mismatch[] = [];
  const compare = (what: string, by: Mismatch["by"], expected: string | undefined, actual: string) => {
    if (expected !== actual) mismatches.push({ what, by, expected: expected ?? "nothing", actual });
  };

  compare("the module's name", "the report", report.mod, answer.mod);
  const entry = hashed(report.mod, answer.content);
  compare(report.mod, "the report", report.sum, entry.sum);
  compare(report.mod, "the answer", answer.sum, entry.sum);

  // A lone surrogate is written as U+FFFD, so its digest would be that of other text.
  const mustBeText = (path: string, content: string) => {
    if (content.isWellFormed()) return;
    mismatches.push({ what: path, by: "the answer", expected: "Unicode text", actual: "a lone surrogate" });
  };
  mustBeText(report.mod, answer.content);

  const files = [entry];
  const paths = new Set([report.mod]);
  for (const { path, content, sum } of answer.files ?? []) {
    const file = hashed(path, content);
    compare(path, "the answer", sum, file.sum);
    mustBeText(path, content);
    if (paths.has(path)) mismatches.push({ what: path, by: "the answer", expected: "once", actual: "twice" });
    paths.add(path);
    files.push(file);
  }

  const tree = treeSum(files);
  // A server of the plain protocol says nothing of trees. One that does must say it in both places, or leaving
  // it out would switch the check off.
  if (report.tree !== undefined || answer.tree !== undefined || answer.files !== undefined) {
    compare(`the tree of ${report.mod}`, "the report", report.tree, tree);
    compare(`the tree of ${report.mod}`, "the answer", answer.tree, tree);
  }

  if (mismatches.length > 0) return { verified: false, mod: report.mod, mismatches };
  return {
    verified: true,
    mod: report.mod,
    desc: report.desc ?? "",
    sum: entry.sum,
    tree,
    files,
    isCallable: report.tree !== undefined,
  };
}

function hashed(path: string, content: string): VerifiedFile {
  return { path, content, sum: sha256Hex(content) };
}
