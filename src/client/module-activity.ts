import type { ModuleStats } from "../protocol/messages.ts";

/** The statistics of a version, and how often it was called since the previous ones. */
export interface ModuleActivity extends ModuleStats {
  /** 0 for a version that was not in the previous statistics. */
  readonly callsPerSecond: number;
}

/** What happened between two answers to `VeripyClient.stats`, `elapsedMs` apart. Pure. */
export function activityBetween(
  before: readonly ModuleStats[],
  after: readonly ModuleStats[],
  elapsedMs: number,
): ModuleActivity[] {
  const earlier = new Map(before.map((one) => [keyOf(one), one.calls]));
  return after.map((one) => {
    // A server that was started again counts from 0.
    const calls = Math.max(0, one.calls - (earlier.get(keyOf(one)) ?? one.calls));
    return { ...one, callsPerSecond: elapsedMs > 0 ? (calls * 1_000) / elapsedMs : 0 };
  });
}

function keyOf({ mod, tree }: ModuleStats): string {
  return `${mod}\n${tree}`;
}
