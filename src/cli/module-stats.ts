import type { Approval, Approvals, ModuleStats, SandboxStatus, StatsResponse } from "../index.ts";
import { approvalJson, approvalText } from "./approval-text.ts";
import { printList } from "./list.ts";
import { shortId, styled } from "./text.ts";
import { note, printJson } from "./ui.ts";

/** Prints a line for each version of a module, as `modules` does. */
export function printStats({ modules, sandbox }: StatsResponse, approvals: Approvals, json = false): void {
  if (json) {
    for (const one of modules) {
      // `state` is that of the process.
      const { state: approval, changed } = approvalJson(approvalOf(one, approvals));
      printJson({ ...one, approval, changed, sandbox });
    }
    return;
  }
  const header = [
    "module",
    "version",
    "approval",
    "state",
    "pid",
    "memory",
    "calls",
    "failed",
    "restarts",
    "p50",
    "p99",
  ];
  const rows = modules.map((one) => [
    one.mod,
    shortId(one.tree) + (one.current ? "" : " (old)"),
    approvalText(approvalOf(one, approvals)),
    one.state,
    one.pid ?? "-",
    one.memoryBytes === undefined ? "-" : `${(one.memoryBytes / 1024 ** 2).toFixed(1)} MiB`,
    one.calls,
    one.failures,
    one.restarts,
    milliseconds(one.p50Ms),
    milliseconds(one.p99Ms),
  ]);
  printList(header, rows);
  if (sandbox?.enforced === false) note`${styled("red", "warning")}: ${unenforcedText(sandbox)}`;
}

function unenforcedText({ mode, abi }: SandboxStatus): string {
  const kernel = abi === 0 ? "without Landlock" : `with Landlock ABI ${abi}`;
  return `The server does not hold modules to all their permissions: its sandbox is '${mode}', on a system ${kernel}.`;
}

/** Of the current version, or of one that the server retains. */
export function approvalOf({ mod, tree, current }: ModuleStats, approvals: Approvals): Approval {
  return current ? approvals.of(mod) : approvals.ofTree(mod, tree);
}

/** Three significant digits, without an exponent. */
export function milliseconds(value: number | undefined): string {
  if (value === undefined) return "-";
  const decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return `${value.toFixed(decimals)} ms`;
}
