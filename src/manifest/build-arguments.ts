import { messageOf, VeripyError } from "../base/errors.ts";
import { didYouMean } from "../base/similar.ts";
import {
  type ArgumentField,
  type ArgumentFields,
  argumentFields,
  isText,
  type JsonType,
} from "./argument-fields.ts";
import { compileInput } from "./input-schema.ts";

/** Arguments that do not fit a module's schema. Nothing was sent. */
export class ArgumentsError extends VeripyError {
  /** The schema that they do not fit. */
  readonly input: Record<string, unknown>;

  constructor(mod: string, input: Record<string, unknown>, problem: string) {
    super("bad_arguments", `Cannot call ${mod}: ${problem}`);
    this.name = "ArgumentsError";
    this.input = input;
  }
}

/**
 * The arguments of a call, from words as a person types them: `env=prod dry_run:=true tags=a tags=b`. Pure.
 *
 * - `NAME=VALUE` gives what the schema says: an integer, a number, true or false, null; a string where it allows one or does
 *   not say. An array takes one such word for each element.
 * - `NAME:=JSON` gives any JSON, exactly as it was typed.
 * - One word that begins with `{` is the whole JSON.
 *
 * A module whose `input` does not describe an object takes the words joined by spaces. Throws `ArgumentsError` for a fault
 * that can be found here.
 */
export function buildArguments(
  mod: string,
  input: Record<string, unknown> | undefined,
  words: readonly string[],
): string {
  const described = input && argumentFields(input);
  if (input === undefined || described === undefined) return words.join(" ");
  try {
    const [first = ""] = words;
    const json = words.length === 1 && first.startsWith("{") ? first : objectText(described, words);
    check(mod, input, described, json);
    return json;
  } catch (error) {
    throw error instanceof Fault ? new ArgumentsError(mod, input, error.message) : error;
  }
}

/** What is wrong with the arguments, as the end of a sentence that names the module. */
class Fault extends Error {}

interface Assignment {
  readonly name: string;
  readonly value: string;
  /** With `:=`. */
  readonly isJson: boolean;
}

/** Built as text, so that JSON and numbers keep the digits that were typed, and `__proto__` is a name like any other. */
function objectText(described: ArgumentFields, words: readonly string[]): string {
  const assignments = Map.groupBy(
    words.map((word) => assignment(word, described)),
    ({ name }) => name,
  );
  const members = [...assignments].map(([name, given]) => {
    const field = described.fields.get(name) ?? unknownField(name, described);
    return `${JSON.stringify(name)}:${fieldText(field, given)}`;
  });
  return `{${members.join(",")}}`;
}

/** The first `=` ends the name. */
function assignment(word: string, { fields }: ArgumentFields): Assignment {
  const equals = word.indexOf("=");
  if (equals < 0) {
    const field = fields.get(word.replace(/^-+/, ""));
    const [name, value] = field === undefined ? ["NAME", "VALUE"] : [field.name, exampleOf(field)];
    throw new Fault(`'${word}' is not an argument. Write ${name}=${value}.`);
  }
  const isJson = word[equals - 1] === ":";
  const name = word.slice(0, isJson ? equals - 1 : equals);
  if (name === "") throw new Fault(`'${word}' has no name. Write NAME=VALUE.`);
  return { name, value: word.slice(equals + 1), isJson };
}

function exampleOf({ types }: ArgumentField): string {
  return types.includes("boolean") && !isText(types) ? "true" : "VALUE";
}

function unknownField(name: string, { fields, isOpen }: ArgumentFields): ArgumentField {
  if (isOpen) return { name, isRequired: false, types: [], elementTypes: [] };
  const outer = fields.get(name.split(".")[0] ?? "");
  const hint =
    outer !== undefined && outer.name !== name
      ? `What is inside ${outer.name} is given as JSON: ${outer.name}:='{…}'.`
      : didYouMean(name.replace(/^-+/, ""), fields.keys());
  throw new Fault(`it takes no '${name}'. ${hint}`.trimEnd());
}

function fieldText({ name, types, elementTypes }: ArgumentField, given: readonly Assignment[]): string {
  const [first] = given;
  if (first === undefined) return "null";
  if (given.some(({ isJson }) => isJson)) {
    if (given.length > 1)
      throw new Fault(`${name} is given ${given.length} times, but ':=' gives all of it at once.`);
    return jsonText(first);
  }
  const scalars = types.filter((type) => type !== "array");
  const isArray = types.includes("array") && (given.length > 1 || scalars.length === 0);
  if (isArray) return `[${given.map(({ value }) => valueText(name, value, elementTypes, true)).join(",")}]`;
  if (given.length > 1) throw new Fault(`${name} is given ${given.length} times, but takes one value.`);
  return valueText(name, first.value, scalars, false);
}

function jsonText({ name, value }: Assignment): string {
  try {
    JSON.parse(value);
  } catch (error) {
    const reason = messageOf(error).replace("JSON Parse error: ", "");
    throw new Fault(`${name} is not JSON: ${reason}. For a string, write ${name}=VALUE.`);
  }
  return value;
}

const typeNames: Record<JsonType, string> = {
  string: "a string",
  number: "a number",
  integer: "an integer",
  boolean: "true or false",
  null: "null",
  array: "an array",
  object: "an object",
};

function valueText(name: string, value: string, types: readonly JsonType[], isElement: boolean): string {
  if (isText(types)) return JSON.stringify(value);
  if (types.some((type) => isOfType(value, type))) return value;
  const typed = types.map((type) => typeNames[type]).join(" or ");
  const what = isElement ? `each value of ${name}` : name;
  if (isNumber(value) && Math.abs(Number(value)) > Number.MAX_SAFE_INTEGER)
    throw new Fault(`${what} must be ${typed}, and ${value} is too large to be exact.`);
  const isStructure = types.some((type) => type === "array" || type === "object");
  const hint = isStructure ? ` Give it as JSON: ${name}:='${isElement ? "[…]" : "{…}"}'.` : "";
  throw new Fault(`${what} must be ${typed}, not '${value}'.${hint}`);
}

/** A number as JSON writes it. */
function isNumber(value: string): boolean {
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(value);
}

/** Numbers that a module would not receive as they were typed, because they are too large, are of no type. */
function isOfType(value: string, type: JsonType): boolean {
  if (type === "boolean") return value === "true" || value === "false";
  if (type === "null") return value === "null";
  if ((type !== "number" && type !== "integer") || !isNumber(value)) return false;
  const number = Number(value);
  const isWhole = /^-?\d+$/.test(value);
  return isWhole || type === "integer" ? Number.isSafeInteger(number) : Number.isFinite(number);
}

function check(mod: string, input: Record<string, unknown>, { fields }: ArgumentFields, json: string): void {
  const value = parsedObject(json);
  const missing = [...fields.values()].filter(
    ({ name, isRequired }) => isRequired && !Object.hasOwn(value, name),
  );
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name);
    throw new Fault(`${names.join(", ")} ${names.length === 1 ? "is" : "are"} missing.`);
  }
  if (mayTakeForever(input)) return;
  try {
    compileInput(mod, input)(json);
  } catch (error) {
    if (!(error instanceof VeripyError) || error.code !== "bad_request") throw error;
    throw new Fault(`${error.message} The arguments are ${shown(json)}`);
  }
}

function parsedObject(json: string): object {
  try {
    return JSON.parse(json) as object;
  } catch (error) {
    const reason = messageOf(error).replace("JSON Parse error: ", "");
    throw new Fault(`its arguments are not JSON: ${reason}. They are ${shown(json)}`);
  }
}

const maxShown = 200;

function shown(json: string): string {
  return json.length > maxShown ? `${json.slice(0, maxShown)}…` : json;
}

const slowKeywords: ReadonlySet<string> = new Set([
  "$ref",
  "$dynamicRef",
  "$recursiveRef",
  "pattern",
  "patternProperties",
]);

/**
 * Whether checking a value against this schema may take exponential time: with a regular expression, or with references that
 * refer to each other. Such a schema could hang this program, and Ctrl-C with it, so it is left to the module's process,
 * which checks all arguments.
 */
function mayTakeForever(schema: unknown): boolean {
  if (typeof schema !== "object" || schema === null) return false;
  return Object.entries(schema).some(([key, value]) => slowKeywords.has(key) || mayTakeForever(value));
}
