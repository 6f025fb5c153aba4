import { shellQuoted } from "../base/shell-quote.ts";

const jsonTypes = ["string", "number", "integer", "boolean", "null", "array", "object"] as const;

/** A type of JSON Schema. */
export type JsonType = (typeof jsonTypes)[number];

/** A field of the object that a module takes. */
export interface ArgumentField {
  readonly name: string;
  readonly isRequired: boolean;
  /** The types that its value may have. Empty if the schema does not say. */
  readonly types: readonly JsonType[];
  /** The same of its elements, if it is an array. */
  readonly elementTypes: readonly JsonType[];
}

/** The object that a module takes. */
export interface ArgumentFields {
  readonly fields: ReadonlyMap<string, ArgumentField>;
  /** Whether the schema may allow other fields too. */
  readonly isOpen: boolean;
}

/** Keywords that may allow, or describe, fields that are not in `properties`. */
const openingKeywords = [
  "$ref",
  "allOf",
  "anyOf",
  "oneOf",
  "if",
  "patternProperties",
  "dependentSchemas",
  "unevaluatedProperties",
];

/**
 * The fields of a module's `input`; undefined if that does not describe an object. A JSON Schema allows any field that it
 * does not forbid. Here, a field must be in `properties`, if there are any, unless a keyword such as
 * `additionalProperties` says more: otherwise a mistyped name would go unnoticed.
 */
export function argumentFields(input: Record<string, unknown>): ArgumentFields | undefined {
  const properties = objectOf(input.properties);
  if (input.type !== "object" && (input.type !== undefined || properties === undefined)) return undefined;
  const required = arrayOf(input.required).filter((name) => typeof name === "string");
  const names = new Set([...Object.keys(properties ?? {}), ...required]);
  const fields = [...names].map((name): ArgumentField => {
    const schema = properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : undefined;
    return {
      name,
      isRequired: required.includes(name),
      types: typesOf(schema),
      elementTypes: elementTypesOf(schema),
    };
  });
  return {
    fields: new Map(fields.map((field) => [field.name, field])),
    isOpen:
      properties === undefined ||
      (input.additionalProperties ?? false) !== false ||
      openingKeywords.some((keyword) => Object.hasOwn(input, keyword)),
  };
}

/**
 * The arguments as a person types them: `env=STRING`, `[dry_run=BOOLEAN]`, `[tags=STRING …]` for an array, `[NAME=VALUE …]`
 * where other fields may be given, and `JSON` or `[TEXT …]` for a module that does not take an object. Names are quoted for
 * a shell. A field whose name can only be given in JSON is left out.
 */
export function argumentUsage(input: Record<string, unknown> | undefined): string[] {
  if (input === undefined) return ["[TEXT …]"];
  const described = argumentFields(input);
  if (described === undefined) return ["JSON"];
  const typeable = [...described.fields.values()].filter(({ name }) => !/^$|=|:$/.test(name));
  const words = typeable.map((field) => {
    const word = fieldUsage(field);
    return field.isRequired ? word : `[${word}]`;
  });
  return described.isOpen ? [...words, "[NAME=VALUE …]"] : words;
}

function fieldUsage(field: ArgumentField): string {
  const { types, elementTypes } = field;
  const name = shellQuoted(field.name);
  if (!types.includes("array")) return `${name}${assigned(types)}`;
  const value = assigned(elementTypes);
  return value === jsonAssigned ? `${name}${value}` : `${name}${value} …`;
}

const jsonAssigned = ":=JSON";

function assigned(types: readonly JsonType[]): string {
  if (isText(types)) return "=STRING";
  const scalars = types.filter((type) => type !== "array" && type !== "object");
  return scalars.length === 0 ? jsonAssigned : `=${scalars.map((type) => type.toUpperCase()).join("|")}`;
}

/** Whether a value that a person typed is a string as it stands. */
export function isText(types: readonly JsonType[]): boolean {
  return types.length === 0 || types.includes("string");
}

/** Empty if any type will do, or if that can't be seen without following a `$ref`. */
function typesOf(schema: unknown): readonly JsonType[] {
  const { type, enum: values, const: only, ...rest } = objectOf(schema) ?? {};
  if (type !== undefined) return [type].flat().filter(isJsonType);
  if (Array.isArray(values)) return unique(values.map(typeOfValue));
  if (only !== undefined) return [typeOfValue(only)];
  const choices = choicesOf(rest).map(typesOf);
  return choices.some((types) => types.length === 0) ? [] : unique(choices.flat());
}

function elementTypesOf(schema: unknown): readonly JsonType[] {
  const { items, ...rest } = objectOf(schema) ?? {};
  if (items !== undefined) return typesOf(items);
  return (
    choicesOf(rest)
      .map(elementTypesOf)
      .find((types) => types.length > 0) ?? []
  );
}

function choicesOf({ anyOf, oneOf }: Record<string, unknown>): unknown[] {
  return Array.isArray(anyOf) ? anyOf : arrayOf(oneOf);
}

function typeOfValue(value: unknown): JsonType {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value === "string" ? "string" : typeof value === "boolean" ? "boolean" : "object";
}

function isJsonType(type: unknown): type is JsonType {
  return jsonTypes.some((known) => known === type);
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

/** A server may report any JSON as a schema, so whatever has an unexpected form counts as missing. */
function objectOf(value: unknown): Record<string, unknown> | undefined {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}

function arrayOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
