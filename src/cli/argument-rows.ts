/**
 * A module's JSON Schema as the rows of a table: the properties of an object, or one row for arguments of another type. A
 * server may report any JSON, so whatever has an unexpected form is left out; `--json` has the whole schema.
 */
export function argumentRows(schema: Record<string, unknown>): string[][] {
  const properties = objectOf(schema.properties);
  const required = Array.isArray(schema.required) ? schema.required : [];
  const rows = Object.entries(properties ?? {}).map(([name, property]) => {
    const of = objectOf(property) ?? {};
    return [name, typeText(of), required.includes(name) ? "yes" : "no", aboutText(of)];
  });
  if (rows.length > 0) return [["name", "type", "required", "description"], ...rows];
  return [
    ["type", "description"],
    [typeText(schema), aboutText(schema)],
  ];
}

function typeText({ type, items, enum: values, const: only, anyOf, oneOf }: Record<string, unknown>): string {
  if (type === "array") {
    const of = objectOf(items);
    return of === undefined ? "array" : `array of ${typeText(of)}`;
  }
  if (typeof type === "string") return type;
  if (Array.isArray(type)) return type.map(String).join(" or ");
  const choices = Array.isArray(anyOf) ? anyOf : Array.isArray(oneOf) ? oneOf : undefined;
  if (choices !== undefined) return choices.map((one) => typeText(objectOf(one) ?? {})).join(" or ");
  const [example] = Array.isArray(values) ? values : [only];
  return example === undefined ? "any" : typeof example;
}

/** The description, the values that are allowed, and the default. */
function aboutText(schema: Record<string, unknown>): string {
  const { description, enum: values, const: only, default: fallback } = schema;
  const parts: string[] = [];
  if (typeof description === "string" && description !== "") parts.push(description);
  if (Array.isArray(values)) parts.push(`one of ${values.map((value) => JSON.stringify(value)).join(", ")}`);
  if (only !== undefined) parts.push(`always ${JSON.stringify(only)}`);
  if (fallback !== undefined) parts.push(`default ${JSON.stringify(fallback)}`);
  return parts.join("; ");
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}
