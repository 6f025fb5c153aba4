import { argumentFields, printable } from "../index.ts";
import { isPlainWord } from "./shell-words.ts";

/** What can be completed. */
export interface CompletionSource {
  readonly commands: readonly string[];
  /** The commands that take names of modules. */
  readonly moduleCommands: readonly string[];
  /** The full names of all modules. */
  readonly modules: readonly string[];
  /** The schema of a module's arguments; undefined if it has none, or if there is no such module. */
  input(mod: string): Record<string, unknown> | undefined;
}

/** As `node:readline` takes it: what the end of the line may become, and that end. */
export type Completion = [candidates: string[], end: string];

/**
 * Completes the last word of a line: the first one as a command or a module, later ones as a module or as an argument of the
 * module that the line calls. Names come from a server, so only those are offered that are safe to show and need no quotes.
 * Pure.
 */
export function complete(line: string, source: CompletionSource): Completion {
  const typed = line.trimStart();
  const before = typed.split(/[ \t]+/);
  const end = before.pop() ?? "";
  const [first] = before;
  const candidates = candidatesAfter(first, end, source);
  return [[...new Set(candidates)].filter((one) => one.startsWith(end) && isOffered(one)), end];
}

function candidatesAfter(first: string | undefined, end: string, source: CompletionSource): string[] {
  const { commands, moduleCommands } = source;
  if (first === undefined) {
    const names = moduleNames(source, end).filter((name) => !commands.includes(name));
    return spaced([...commands, ...names]);
  }
  if (moduleCommands.includes(first)) return spaced(moduleNames(source, end));
  if (first === "help") return spaced(commands);
  return commands.includes(first) ? [] : argumentWords(source.input(first) ?? {}, end);
}

/** Without their extension, as most people type them, until a dot is typed. */
function moduleNames({ modules }: CompletionSource, end: string): string[] {
  return end.includes(".") ? [...modules] : modules.map((mod) => mod.replace(/\.ts$/, ""));
}

/** A word that is complete is followed by a space. */
function spaced(words: readonly string[]): string[] {
  return words.map((word) => `${word} `);
}

/** `env=` for each field and, once that is typed, the values that the schema names. */
function argumentWords(input: Record<string, unknown>, end: string): string[] {
  const fields = [...(argumentFields(input)?.fields.values() ?? [])];
  const named = fields.find(({ name }) => end.startsWith(`${name}=`));
  if (named !== undefined)
    return spaced(valuesOf(input, named.name).map((value) => `${named.name}=${value}`));
  return fields.map(({ name, types, elementTypes }) => {
    const needsJson = [types, elementTypes].some(
      (of) => of.length > 0 && of.every((type) => type === "object"),
    );
    return needsJson ? `${name}:=` : `${name}=`;
  });
}

function valuesOf(input: Record<string, unknown>, name: string): string[] {
  const properties = objectOf(input.properties);
  if (!Object.hasOwn(properties, name)) return [];
  const field = objectOf(properties[name]);
  const { enum: values, type } = field.type === "array" ? objectOf(field.items) : field;
  if (type === "boolean") return ["true", "false"];
  return Array.isArray(values) ? values.filter((value) => typeof value !== "object").map(String) : [];
}

/** A server may report any JSON as a schema. */
function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function isOffered(candidate: string): boolean {
  const word = candidate.replace(/ $/, "");
  return isPlainWord(word) && printable(word) === word;
}
