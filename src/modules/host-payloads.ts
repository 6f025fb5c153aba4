import { z } from "zod";
import { logLevels, maxErrorText, maxLogLine } from "./host-protocol.ts";
import { maxDescription } from "./module-exports.ts";

// Schemas of what a module host sends to the server. The frames are in host-protocol.ts; this file is apart from it
// because a host has no use for zod.

/** What a module tells of itself when it has loaded. Checked for form here, for sense in its own process. */
const limit = z.number().int().nonnegative().optional();
export const readyPayload = z.object({
  desc: z.string().max(maxDescription).optional(),
  input: z.record(z.string(), z.unknown()).optional(),
  limits: z
    .object({
      execMs: limit,
      maxCallsInFlight: limit,
      maxCallsQueued: limit,
      maxResultBytes: limit,
      maxPartBytes: limit,
      maxModuleMemoryBytes: limit,
      maxLogLinesPerSecond: limit,
    })
    .optional(),
});
export type HostReady = z.infer<typeof readyPayload>;

const errorText = z.string().max(2 * maxErrorText);
export const failedPayload = z.object({ error: errorText });
export const errorPayload = z.object({
  code: z.enum(["exec_failed", "bad_request", "too_large"]),
  error: errorText,
});
export const logPayload = z.object({ level: z.enum(logLevels), text: z.string().max(2 * maxLogLine) });
