import { isDeeperThan } from "../base/json-depth.ts";

// What is wrong with an export, in the same words for what the source says and for what the loaded module has. A
// module's process uses this, so it does without zod.

/** UTF-16 units of `description`: it stands in a line of every client's list. */
export const maxDescription = 4096;
/** UTF-16 units of `input` as JSON. */
export const maxInputSchema = 256 * 1024;
/** How deep `input` may nest: some thirty schemas in each other. */
export const maxInputDepth = 64;

/** A sentence that begins with the module's name. `exports` are the names that it exports. */
export function noExecute(mod: string, exports: readonly string[]): string {
  const others = exports.filter((name) => !["description", "input", "limits", "permissions"].includes(name));
  const hint = others.length === 0 ? "" : ` It exports ${others.slice(0, 3).join(", ")}.`;
  return `${mod} exports no function 'execute'.${hint} Write: export async function execute(args: string): Promise<string> { … }`;
}

/** A sentence, or undefined for a description that may be shown. */
export function descriptionFault(value: unknown): string | undefined {
  if (typeof value !== "string") return "'description' must be a string.";
  if (value.length <= maxDescription) return undefined;
  return `'description' has ${value.length} characters; the limit is ${maxDescription}.`;
}

/** A sentence, or undefined for an object that may be a schema. Throws as `JSON.stringify` does. */
export function inputFault(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return "'input' must be a JSON Schema object.";
  const json = JSON.stringify(value);
  if (json.length > maxInputSchema)
    return `'input' has ${json.length} characters as JSON; the limit is ${maxInputSchema}.`;
  return isDeeperThan(json, maxInputDepth)
    ? `'input' nests deeper than ${maxInputDepth} levels, the limit.`
    : undefined;
}
