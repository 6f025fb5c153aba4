import type { ModuleReport } from "../protocol/messages.ts";

/** What a sync found to be different from what this client knew. */
export interface ModuleDifference {
  readonly added: readonly ModuleReport[];
  readonly changed: readonly ModuleReport[];
  readonly removed: readonly string[];
}

/** Whether two reports speak of the same version. */
export function sameReport(a: ModuleReport | undefined, b: ModuleReport | undefined): boolean {
  return a === b
    ? a !== undefined
    : a !== undefined && b !== undefined && a.sum === b.sum && a.tree === b.tree;
}

/** What is in `after` that was not in `before`, and the other way round. */
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
