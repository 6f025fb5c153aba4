import type { z } from "zod";

/**
 * For `safeParse`: says what is wrong with a value where the schema has no message of its own. The text continues
 * "FIELD: ".
 */
export const plainWords = { error: plainIssue };

/** For an object's schema: names the keys that it takes. */
export function strictKeys(known: readonly string[]): {
  error: (issue: z.core.$ZodRawIssue) => string | undefined;
} {
  return {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `${plainIssue(issue)}; the keys are ${known.join(", ")}`
        : undefined,
  };
}

function plainIssue(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined
        ? "is missing"
        : `must be ${kindNames[issue.expected] ?? `a ${issue.expected}`}, not ${kindOf(issue.input)}`;
    case "too_small":
      if (issue.origin === "string" && Number(issue.minimum) === 1) return "must not be empty";
      return `must ${amount(issue.origin, issue.inclusive === false ? "more than" : "at least", issue.minimum)}`;
    case "too_big":
      return `must ${amount(issue.origin, issue.inclusive === false ? "less than" : "at most", issue.maximum)}`;
    case "invalid_value":
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
    case "unrecognized_keys":
      return `has the unknown ${issue.keys.length === 1 ? "key" : "keys"} ${issue.keys.map((key) => `'${key}'`).join(", ")}`;
    case "invalid_union":
    case "invalid_format":
      return "has an unknown format";
    default:
      return undefined;
  }
}

function amount(origin: string, bound: string, limit: number | bigint): string {
  if (origin === "string") return `have ${bound} ${limit} characters`;
  if (origin === "array" || origin === "set") return `have ${bound} ${limit} entries`;
  return `be ${bound} ${limit}`;
}

const kindNames: Record<string, string> = {
  int: "a whole number",
  string: "a string",
  object: "an object",
  record: "an object",
  array: "a list",
};

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "number" && !Number.isInteger(value)) return String(value);
  return Array.isArray(value) ? "a list" : (kindNames[typeof value] ?? `a ${typeof value}`);
}
