import { dereference, type OutputUnit, type Schema, type SchemaDraft, validate } from "@cfworker/json-schema";
import { messageOf, VeripyError } from "../base/errors.ts";

/** Checks `args` of one call; throws `bad_request` that names the place of the fault. */
export type InputCheck = (args: string) => void;

/**
 * Prepares the check of a module's `input`, a JSON Schema (2020-12 unless `$schema` says otherwise). Throws
 * `bad_module` for an invalid schema: a keyword of the wrong type, a pattern that is not a regular expression, a
 * dangling `$ref`. Formats that the library does not know are not checked, as the specification has it.
 */
export function compileInput(mod: string, input: Record<string, unknown>): InputCheck {
  const broken = (what: string) =>
    new VeripyError("bad_module", `${mod} exports an invalid JSON Schema as 'input': ${what}`);
  const draft = draftOf(input.$schema);
  if (draft === undefined)
    throw broken(
      `$schema is ${JSON.stringify(input.$schema)}. Supported are 2020-12, 2019-09, draft-07 and draft-04.`,
    );
  const fault = deepest(validate(input, metaSchema, "2020-12", undefined, false).errors);
  if (fault !== undefined) throw broken(describe("input", fault));
  const schema: Schema = input;
  const lookup = lookUp(schema, broken);
  return (args) => {
    let value: unknown;
    try {
      value = JSON.parse(args);
    } catch (error) {
      throw new VeripyError(
        "bad_request",
        `args must be JSON for ${mod}: ${messageOf(error).replace("JSON Parse error: ", "")}.`,
      );
    }
    const fault = deepest(validate(value, schema, draft, lookup).errors);
    if (fault !== undefined) throw new VeripyError("bad_request", describe("args", fault));
  };
}

type Lookup = ReturnType<typeof dereference>;

/** Every subschema by its URI. Checks the references now; otherwise a dangling one would fail a call. */
function lookUp(schema: Schema, broken: (what: string) => VeripyError): Lookup {
  let lookup: Lookup;
  try {
    lookup = dereference(schema);
  } catch (error) {
    throw broken(messageOf(error));
  }
  for (const found of Object.values(lookup)) {
    const target = typeof found === "object" ? found.__absolute_ref__ : undefined;
    if (typeof found === "object" && target !== undefined && lookup[target] === undefined)
      throw broken(`$ref ${JSON.stringify(found.$ref)} does not resolve to a schema in it.`);
  }
  return lookup;
}

function draftOf($schema: unknown): SchemaDraft | undefined {
  if ($schema === undefined) return "2020-12";
  const match = /^https?:\/\/json-schema\.org\/(?:draft\/(2020-12|2019-09)|draft-0([47]))\/schema#?$/.exec(
    String($schema),
  );
  return (match?.[1] ?? match?.[2]) as SchemaDraft | undefined;
}

/** Errors come from the outside in; the innermost says what is wrong, those around it only that something is. */
function deepest(errors: readonly OutputUnit[]): OutputUnit | undefined {
  let found: OutputUnit | undefined;
  for (const error of errors) {
    if (error.error === "A subschema had errors.") continue;
    if (found === undefined || depth(error) > depth(found)) found = error;
  }
  return found ?? errors[0];
}

function depth(error: OutputUnit): number {
  return error.instanceLocation.split("/").length;
}

/** `args.tags[0]: Instance type "number" is invalid. …` */
function describe(root: string, { instanceLocation, error }: OutputUnit): string {
  const keys = instanceLocation
    .split("/")
    .slice(1)
    .map((key) => decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~"));
  const path = keys.map((key) => {
    if (/^\d+$/.test(key)) return `[${key}]`;
    return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
  });
  return `${root}${path.join("")}: ${error}`;
}

const schemaMap: Schema = { type: "object", additionalProperties: { $ref: "#" } };
const schemaList: Schema = { type: "array", minItems: 1, items: { $ref: "#" } };
const strings: Schema = { type: "array", items: { type: "string" }, uniqueItems: true };
const count: Schema = { type: "integer", minimum: 0 };
const typeName: Schema = { enum: ["array", "boolean", "integer", "null", "number", "object", "string"] };

/** The meta-schema of the drafts in one document: what each keyword's value must be. */
const metaSchema: Schema = {
  type: ["object", "boolean"],
  properties: {
    $id: { type: "string" },
    $schema: { type: "string" },
    $ref: { type: "string" },
    $anchor: { type: "string" },
    $defs: schemaMap,
    definitions: schemaMap,
    title: { type: "string" },
    description: { type: "string" },
    type: { anyOf: [typeName, { type: "array", items: typeName, minItems: 1, uniqueItems: true }] },
    enum: { type: "array" },
    multipleOf: { type: "number", exclusiveMinimum: 0 },
    maximum: { type: "number" },
    minimum: { type: "number" },
    exclusiveMaximum: { type: ["number", "boolean"] },
    exclusiveMinimum: { type: ["number", "boolean"] },
    maxLength: count,
    minLength: count,
    pattern: { type: "string", format: "regex" },
    format: { type: "string" },
    maxItems: count,
    minItems: count,
    uniqueItems: { type: "boolean" },
    maxContains: count,
    minContains: count,
    contains: { $ref: "#" },
    items: { anyOf: [{ $ref: "#" }, schemaList] },
    prefixItems: schemaList,
    additionalItems: { $ref: "#" },
    unevaluatedItems: { $ref: "#" },
    maxProperties: count,
    minProperties: count,
    required: strings,
    properties: schemaMap,
    patternProperties: { ...schemaMap, propertyNames: { format: "regex" } },
    additionalProperties: { $ref: "#" },
    unevaluatedProperties: { $ref: "#" },
    propertyNames: { $ref: "#" },
    dependentRequired: { type: "object", additionalProperties: strings },
    dependentSchemas: schemaMap,
    dependencies: { type: "object", additionalProperties: { anyOf: [{ $ref: "#" }, strings] } },
    if: { $ref: "#" },
    // biome-ignore lint/suspicious/noThenProperty: the name of a JSON Schema keyword
    then: { $ref: "#" },
    else: { $ref: "#" },
    allOf: schemaList,
    anyOf: schemaList,
    oneOf: schemaList,
    not: { $ref: "#" },
  },
};
