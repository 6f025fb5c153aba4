import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { entrySchema, type TrustedKeyFields } from "./grant.ts";

const fieldsSchema = entrySchema.omit({ fingerprint: true, next: true });

/** What is wrong with the fields, as a clause that names the first invalid one; undefined when they are valid. */
export function faultOfFields(fields: unknown): string | undefined {
  const parsed = fieldsSchema.safeParse(fields);
  if (parsed.success) return undefined;
  const { path = [], message = "not valid" } = parsed.error.issues[0] ?? {};
  const [field, ...steps] = path;
  const where = steps.map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`)).join("");
  const clause = message.replace(/\.$/, "");
  return field === undefined ? clause : `${String(field)}${where}: ${clause}`;
}

/** Throws `bad_config` for fields that are not valid in `trusted-keys.json`. */
export function checkFields(fields: TrustedKeyFields): void {
  const fault = faultOfFields(fields);
  if (fault !== undefined)
    throw new VeripyError("bad_config", `Cannot use these fields for a key: ${fault}.`);
}

/** The same as a schema, for other files. Returns the fields as written. */
export const keyFieldsSchema = z.unknown().transform((fields, context) => {
  const fault = faultOfFields(fields);
  if (fault === undefined) return fields as TrustedKeyFields;
  context.addIssue({ code: "custom", message: fault });
  return z.NEVER;
});
