import type { Approval, Approvals, ModuleStats } from "../index.ts";
import { approvalJson, approvalText } from "./approval-text.ts";
import { table } from "./table.ts";
import { shortId } from "./text.ts";
import { printAll, printJson } from "./ui.ts";

/** Prints a line for each version of a module, as `modules` does. */
export function printStats(stats: readonly ModuleStats[], approvals: Approvals, json = false): void {
  if (json) {
    for (const one of stats) {
      // `state` is that of the process.
      const { state: approval, changed } = approvalJson(approvalOf(one, approvals));
      printJson({ ...one, approval, changed });
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
  const rows = stats.map((one) => [
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
  printAll(table([header, ...rows]));
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
