import { z } from "zod";
import { VeripyError } from "../../base/errors.ts";
import { isDeeperThan } from "../../base/json-depth.ts";
import { unquote } from "../../base/json-string.ts";
import { plainWords } from "../../base/plain-issue.ts";
import { maxDescription, maxInputDepth, maxInputSchema } from "../../manifest/export-faults.ts";
import { describeIssues, execProgress } from "../../protocol/messages.ts";
import { logLevels, maxErrorText, maxLogLine, maxProgressBytes } from "../protocol.ts";

// Schemas of what a module host sends to the server. The frames are described in ../protocol.ts. A host does not import
// this file: it does without zod.

/** JSON may need six characters for one of a string. */
export const worstEscape = 6;

/** UTF-16 units of `permissions` and `limits`: as JSON. */
const maxPermissionText = 128 * 1024;

/** One kind of payload: its schema, and the longest that is parsed, in UTF-16 units. */
interface PayloadForm<T> {
  readonly maxLength: number;
  readonly schema: z.ZodType<T>;
}

function textForm<T>(maxText: number, schema: z.ZodType<T>): PayloadForm<T> {
  return { maxLength: worstEscape * maxText + 1024, schema };
}

const ready = z.object({
  desc: z.string().max(maxDescription).optional(),
  input: z
    .record(z.string(), z.unknown())
    // Encoded again, because that can be longer: 1e20 becomes 21 characters.
    .refine((input) => JSON.stringify(input).length <= maxInputSchema, {
      error: `must have at most ${maxInputSchema} characters as JSON`,
    })
    .optional(),
  // Compared with the module's source, which says what they may be.
  limits: z.unknown().optional(),
  permissions: z.unknown().optional(),
});
/** What a module exports besides `execute`. Only its shape is checked here; the module's own process checks the rest. */
export type HostReady = z.infer<typeof ready>;
export const readyForm: PayloadForm<HostReady> = {
  maxLength: maxInputSchema + worstEscape * maxDescription + maxPermissionText + 1024,
  schema: ready,
};

// The end of a text that was cut says so.
const errorText = z.string().max(maxErrorText + 64);
export const failedForm = textForm(maxErrorText + 64, z.object({ error: errorText }));
export const errorForm = textForm(
  maxErrorText + 64,
  z.object({ code: z.enum(["exec_failed", "bad_request", "too_large"]), error: errorText }),
);
export const logForm = textForm(
  2 * maxLogLine,
  z.object({ level: z.enum(logLevels), text: z.string().max(2 * maxLogLine) }),
);
export const progressForm = textForm(
  maxProgressBytes,
  execProgress.extend({
    message: z
      .string()
      .refine(
        (text) => Buffer.byteLength(text) <= maxProgressBytes,
        `must have at most ${maxProgressBytes} bytes`,
      )
      .optional(),
  }),
);
export const abortingForm = textForm(0, z.object({}));

/** Throws `protocol_error` for a payload that is too long, nests too deep or has another shape. */
export function parseHostPayload<T>({ maxLength, schema }: PayloadForm<T>, json: string): T {
  if (json.length > maxLength)
    throw broken(`a payload of ${json.length} characters, the limit is ${maxLength}`);
  // The payload itself is the level around `input`.
  if (isDeeperThan(json, maxInputDepth + 1))
    throw broken(`a payload that nests deeper than ${maxInputDepth} levels, the limit`);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new VeripyError("protocol_error", "a payload that is not JSON", { cause: error });
  }
  const parsed = schema.safeParse(value, plainWords);
  if (parsed.success) return parsed.data;
  throw broken(describeIssues(parsed.error).replace(/\.$/, ""));
}

/**
 * A decoded string, still a JSON string literal because it is copied into a line for the client. Throws
 * `protocol_error` if it was none, or has more than `maxBytes` as UTF-8.
 */
export function boundedLiteral(literal: string | undefined, maxBytes: number): string {
  // A UTF-16 unit is three bytes of UTF-8 at most.
  if (
    literal === undefined ||
    (literal.length * 3 > maxBytes && Buffer.byteLength(unquote(literal)) > maxBytes)
  )
    throw broken("an answer that is not a string within the limit");
  return literal;
}

function broken(what: string): VeripyError {
  return new VeripyError("protocol_error", what);
}
