import type { ModuleReport } from "../protocol/messages.ts";

/** How a sync differs from what the client knew before. */
export interface ModuleDifference {
  readonly added: readonly ModuleReport[];
  readonly changed: readonly ModuleReport[];
  readonly removed: readonly string[];
}

/** Whether two reports say the same of a module. Two missing reports don't. */
export function sameReport(a: ModuleReport | undefined, b: ModuleReport | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  if (a === b) return true;
  return a.sum === b.sum && a.tree === b.tree && descriptionText(a) === descriptionText(b);
}

function descriptionText({ desc, input, permissions, describedBy }: ModuleReport): string {
  return JSON.stringify([desc, input, permissions, describedBy]);
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
