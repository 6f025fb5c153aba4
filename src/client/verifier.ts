import { VeripyError } from "../base/errors.ts";
import { type Sha256Hex, sha256Hex } from "../base/sha256.ts";
import type { CatalogueSignature } from "../catalogue/signed-catalogue.ts";
import type { ModuleReport, VerifyResponse } from "../protocol/messages.ts";
import { type TreeEntry, treeSum } from "../protocol/tree.ts";
import type { Mismatch } from "./mismatch.ts";
import { describeModule, type ModuleDescription } from "./module-description.ts";

export interface VerifiedFile extends TreeEntry {
  readonly content: string;
}

/** A module whose every byte was hashed by this client and matches the server's report. */
export interface VerifiedModule extends ModuleDescription {
  readonly verified: true;
  readonly mod: string;
  /** The description as lists show it: empty when there is none. */
  readonly desc: string;
  readonly sum: Sha256Hex;
  /** Computed by this client, even if the server does not report trees. */
  readonly tree: Sha256Hex;
  /** The module's file first, then what it imports. */
  readonly files: readonly VerifiedFile[];
  /** Whether the server can run the module: a server of the plain protocol can't. */
  readonly isCallable: boolean;
  /** Who signed the catalogue that lists every one of its files; undefined unless the client has signers. */
  readonly signed?: CatalogueSignature;
}

export interface RejectedModule {
  readonly verified: false;
  readonly mod: string;
  readonly mismatches: readonly Mismatch[];
}

export type Verdict = VerifiedModule | RejectedModule;

/** A module does not match the server's report. `verdict` lists every mismatch. */
export class VerificationError extends VeripyError {
  readonly verdict: RejectedModule;

  constructor(verdict: RejectedModule) {
    const clauses = verdict.mismatches.map(
      ({ what, by, expected, actual }) => `${what}: expected ${expected} (from ${by}), got ${actual}`,
    );
    super("verification_failed", `${verdict.mod} could not be verified. ${clauses.join("; ")}.`);
    this.name = "VerificationError";
    this.verdict = verdict;
  }
}

/**
 * Compares the received bytes, and what they say of the module, with what the latest report (from a sync or a broadcast) and
 * the answer itself say. Pure. Every sum is computed here; none is taken from the server.
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

  // Encoding turns a lone surrogate into U+FFFD, so two different texts would have the same digest.
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
  // A server of the plain protocol reports no trees. Any other must give the tree in both places; otherwise leaving it out
  // would skip the check.
  if (report.tree !== undefined || answer.tree !== undefined || answer.files !== undefined) {
    compare(`the tree of ${report.mod}`, "the report", report.tree, tree);
    compare(`the tree of ${report.mod}`, "the answer", answer.tree, tree);
  }

  if (mismatches.length > 0) return { verified: false, mod: report.mod, mismatches };
  const described = describeModule(report, answer, files);
  if (!("describedBy" in described)) return { verified: false, mod: report.mod, mismatches: described };
  return {
    verified: true,
    mod: report.mod,
    desc: described.description ?? "",
    sum: entry.sum,
    tree,
    files,
    isCallable: report.tree !== undefined,
    ...described,
  };
}

function hashed(path: string, content: string): VerifiedFile {
  return { path, content, sum: sha256Hex(content) };
}
