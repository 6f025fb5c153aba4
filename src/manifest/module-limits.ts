import { z } from "zod";
import { strictKeys } from "../base/plain-issue.ts";
import type { ModuleLimits } from "./declared.ts";

export type { ModuleLimits };

const count = (least: number) => z.number().int().min(least).max(Number.MAX_SAFE_INTEGER).exactOptional();

const shape = {
  execMs: count(1),
  maxCallsInFlight: count(1),
  maxCallsQueued: count(0),
  maxResultBytes: count(1),
  maxPartBytes: count(1),
  maxModuleMemoryBytes: count(1),
  maxLogLinesPerSecond: count(0),
  retain: count(0),
  resident: z.boolean().exactOptional(),
};

/** The shape of `limits` in a module's source. */
export const moduleLimits: z.ZodType<ModuleLimits> = z.strictObject(shape, strictKeys(Object.keys(shape)));
