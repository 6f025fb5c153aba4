import { z } from "zod";

/** Limits that a module sets for itself; where the server has one too, the tighter of both holds. */
export interface ModuleLimits {
  execMs?: number;
  maxCallsInFlight?: number;
  maxCallsQueued?: number;
  maxResultBytes?: number;
  maxPartBytes?: number;
  maxModuleMemoryBytes?: number;
  maxLogLinesPerSecond?: number;
  /** Earlier versions that stay callable by their tree. 0 ends all of them. */
  retain?: number;
  /** Keeps the module's process from the start, however many others wait. */
  resident?: boolean;
}

const count = (least: number) => z.number().int().min(least).max(Number.MAX_SAFE_INTEGER).exactOptional();

/** The shape of `limits` in a module's source. */
export const moduleLimits: z.ZodType<ModuleLimits> = z.strictObject({
  execMs: count(1),
  maxCallsInFlight: count(1),
  maxCallsQueued: count(0),
  maxResultBytes: count(1),
  maxPartBytes: count(1),
  maxModuleMemoryBytes: count(1),
  maxLogLinesPerSecond: count(0),
  retain: count(0),
  resident: z.boolean().exactOptional(),
});
