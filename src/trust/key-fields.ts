import { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { entrySchema, type TrustedKeyFields } from "./grant.ts";

const fieldsSchema = entrySchema.omit({ fingerprint: true, next: true });

/** What is wrong with the fields, as a clause that names one; undefined when the file may have them. */
export function faultOfFields(fields: unknown): string | undefined {
  const parsed = fieldsSchema.safeParse(fields);
  if (parsed.success) return undefined;
  const { path = [], message = "not valid" } = parsed.error.issues[0] ?? {};
  const [field, ...steps] = path;
  const where = steps.map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`)).join("");
  const clause = message.replace(/\.$/, "");
  return field === undefined ? clause : `${String(field)}${where}: ${clause}`;
}

/** Throws `bad_config` for fields that `trusted-keys.json` may not have. */
export function checkFields(fields: TrustedKeyFields): void {
  const fault = faultOfFields(fields);
  if (fault !== undefined) throw new VeripyError("bad_config", `Cannot give a key such an entry: ${fault}.`);
}

/** The same for a part of another file. It gives the fields as they are written. */
export const keyFieldsSchema = z.unknown().transform((fields, context) => {
  const fault = faultOfFields(fields);
  if (fault === undefined) return fields as TrustedKeyFields;
  context.addIssue({ code: "custom", message: fault });
  return z.NEVER;
});
