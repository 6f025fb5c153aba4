import type { ModuleReport } from "../protocol/messages.ts";

/** How a sync differs from what the client knew before. */
export interface ModuleDifference {
  readonly added: readonly ModuleReport[];
  readonly changed: readonly ModuleReport[];
  readonly removed: readonly string[];
}

/** Whether two reports describe the same version of a module. Two missing reports don't. */
export function sameReport(a: ModuleReport | undefined, b: ModuleReport | undefined): boolean {
  return a === b
    ? a !== undefined
    : a !== undefined && b !== undefined && a.sum === b.sum && a.tree === b.tree;
}

/** What was added, changed and removed between two sets of reports. */
export function differenceOf(
  before: ReadonlyMap<string, ModuleReport>,
  after: ReadonlyMap<string, ModuleReport>,
): ModuleDifference {
  const reports = [...after.values()];
  return {
    added: reports.filter(({ mod }) => !before.has(mod)),
    changed: reports.filter(
      (report) => before.has(report.mod) && !sameReport(before.get(report.mod), report),
    ),
    removed: [...before.keys()].filter((mod) => !after.has(mod)),
  };
}
