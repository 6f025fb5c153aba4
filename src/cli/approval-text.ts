import type { Approval, ApprovalChange, DecisionRecord } from "../index.ts";
import { styled, type Text, text } from "./text.ts";

/** What was decided about a version, as lists show it: `approved`, or `pending (code, permissions)`. */
export function approvalText({ state, changed }: Approval): Text {
  if (state === "not approved") return text`${state}`;
  if (state === "pending") return text`${styled("yellow", state)} (${changed.join(", ")})`;
  return styled(state === "approved" ? "green" : "red", state);
}

/** For `--json`: `state`, and `changed` for what is pending. */
export function approvalJson({ state, changed }: Approval): {
  state: string;
  changed?: readonly ApprovalChange[];
} {
  return state === "pending" ? { state, changed } : { state };
}

/** As much of a tree as a sentence needs. */
export function shortTree(tree: string): string {
  return `${tree.slice(0, 8)}…`;
}

/** When and by whom a version was approved. */
export function decidedText({ approved_at: at, approved_by: by, note }: Decided): Text {
  return text`${at} by ${by}${note === undefined ? "" : `: ${note}`}`;
}

interface Decided {
  readonly approved_at: string;
  readonly approved_by: string;
  readonly note?: string;
}

/** A line of the log: time, what happened, the module and its tree, the server, who, and the note. */
export function recordRow({ at, event, mod, tree, next, address, by, note }: DecisionRecord): string[] {
  const version = tree ?? next;
  return [at, event, mod ?? "-", version === undefined ? "-" : version.slice(0, 16), address, by, note ?? ""];
}
