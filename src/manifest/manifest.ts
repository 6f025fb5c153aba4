import { posix } from "node:path";
import type { z } from "zod";
import { VeripyError } from "../base/errors.ts";
import { plainWords } from "../base/plain-issue.ts";
import { descriptionFault, inputFault, noExecute } from "./export-faults.ts";
import { type ExportedName, type FileExports, fileExports } from "./file-exports.ts";
import { candidatePaths, type ImportScan, readImports } from "./import-scan.ts";
import { type LiteralValue, literalPart, literalsAre, literalValue, NotLiteralError } from "./literal.ts";
import { type ModuleLimits, moduleLimits } from "./module-limits.ts";
import { parseJsonExpression, parseSource, placeOf, type SyntaxNode } from "./parse-source.ts";
import { type DeclaredPermissions, normalPermissions, permissionLists } from "./permissions.ts";

/** What a module's source says of it without being run. */
export interface Manifest {
  /** Undefined when there is none, or, with `describedBy` "server", when its value is computed. */
  readonly description: string | undefined;
  readonly input: Record<string, LiteralValue> | undefined;
  readonly limits: ModuleLimits;
  /** In the normal form of `normalPermissions`. */
  readonly permissions: DeclaredPermissions;
  /** "server": the description or the schema is computed, so only the running module can tell it. */
  readonly describedBy: "source" | "server";
  /** The built-ins that any of the files imports, sorted: `bun:ffi`, `node:fs`. */
  readonly imports: readonly string[];
  /** The names that the module exports, sorted; without those of a built-in's `export *`. */
  readonly exports: readonly string[];
}

/** One file of a module, parsed. */
export interface FileScan extends ImportScan {
  readonly path: string;
  readonly content: string;
  readonly exports: FileExports;
}

const noExports: FileExports = { names: new Map(), stars: [] };

/** Parses one file. Throws `bad_module` with its path, line and column. */
export function scanFile(path: string, content: string): FileScan {
  if (path.endsWith(".json")) return { path, content, ...noImports, exports: jsonExports(path, content) };
  if (!path.endsWith(".ts") && !path.endsWith(".js"))
    return { path, content, ...noImports, exports: noExports };
  const program = parseSource(path, content);
  return { path, content, ...readImports(path, content, program), exports: fileExports(program) };
}

/** A JSON file has its value as `default`. Only an export that leads to it has it parsed: most are data, and may be long. */
function jsonExports(path: string, content: string): FileExports {
  try {
    JSON.parse(content);
  } catch {
    return noExports;
  }
  const value: ExportedName = {
    kind: "constant",
    at: 0,
    get value() {
      return parseJsonExpression(path, content);
    },
  };
  return { names: new Map([["default", value]]), stars: [] };
}

const noImports: ImportScan = { relative: [], builtins: [], specifiers: [] };

/**
 * The manifest of the module `mod`, from the texts of its files by their paths below `mods/`, its own among them. A pure
 * function of what was hashed: both ends derive the same from it. Throws `bad_module`, with path, line and column.
 */
export function readManifest(
  mod: string,
  texts: Iterable<readonly [path: string, content: string]>,
): Manifest {
  const files = new Map<string, FileScan>();
  for (const [path, content] of texts) files.set(path, scanFile(path, content));
  return linkManifest(mod, files);
}

/** Like `readManifest`, of files that are parsed already. */
export function linkManifest(mod: string, files: ReadonlyMap<string, FileScan>): Manifest {
  const entry = files.get(mod);
  if (entry === undefined) throw new VeripyError("bad_module", `${mod}: the file is missing.`);
  const tree = new ModuleTree(files);
  const exports = tree.namesOf(entry);
  const execute = tree.find(entry, "execute");
  if (execute === undefined) throw new VeripyError("bad_module", noExecute(entry.path, exports));
  checkExecute(execute);

  const description = optionalLiteral(tree.find(entry, "description"));
  const input = optionalLiteral(tree.find(entry, "input"));
  const limits = requiredLiteral(tree.find(entry, "limits"));
  const permissions = requiredLiteral(tree.find(entry, "permissions"));
  return {
    description: description === computed ? undefined : checkDescription(description),
    input: input === computed ? undefined : checkInput(input),
    limits: limits === undefined ? {} : checked("limits", limits, moduleLimits),
    permissions: permissions === undefined ? {} : checkPermissions(permissions),
    describedBy: description === computed || input === computed ? "server" : "source",
    imports: [...new Set([...files.values()].flatMap((file) => file.builtins))].sort(),
    exports,
  };
}

/** An export, followed to the file that declares it. */
interface Found {
  readonly name: string;
  readonly file: FileScan;
  readonly entry: Exclude<ExportedName, { kind: "imported" }>;
}

/** Follows exports from file to file, as the loader would. */
class ModuleTree {
  readonly #files: ReadonlyMap<string, FileScan>;

  constructor(files: ReadonlyMap<string, FileScan>) {
    this.#files = files;
  }

  namesOf(file: FileScan, seen = new Set<FileScan>()): string[] {
    if (seen.has(file)) return [];
    seen.add(file);
    const names = new Set(file.exports.names.keys());
    for (const { specifier } of file.exports.stars) {
      const target = this.#target(file, specifier);
      if (target === undefined) continue;
      for (const name of this.namesOf(target, seen)) if (name !== "default") names.add(name);
    }
    return [...names].sort();
  }

  /** Undefined when the file has no such export. Throws `bad_module` for one that cannot be followed. */
  find(file: FileScan, name: string, seen = new Set<string>()): Found | undefined {
    const key = `${file.path}\0${name}`;
    if (seen.has(key)) return undefined;
    seen.add(key);
    const entry = file.exports.names.get(name);
    if (entry === undefined) return name === "default" ? undefined : this.#findByStar(file, name, seen);
    if (entry.kind !== "imported") return { name, file, entry };
    const { specifier, name: imported, at } = entry;
    const target = this.#target(file, specifier);
    if (target === undefined || imported === "*") {
      const what = imported === "*" ? `everything that ${specifier} exports` : `a part of ${specifier}`;
      return { name, file, entry: { kind: "declared", what, at } };
    }
    const found = this.find(target, imported, seen);
    if (found === undefined)
      throw bad(file, at, `'${name}' comes from '${specifier}', which exports no '${imported}'.`);
    return found;
  }

  #findByStar(file: FileScan, name: string, seen: Set<string>): Found | undefined {
    let found: Found | undefined;
    for (const { specifier, at } of file.exports.stars) {
      const target = this.#target(file, specifier);
      const here = target && this.find(target, name, seen);
      if (here === undefined) continue;
      if (found !== undefined && found.entry !== here.entry)
        throw bad(
          file,
          at,
          `'${name}' comes from more than one 'export *'. Export it from one file by its name.`,
        );
      found = here;
    }
    return found;
  }

  /** Undefined for a built-in: none exports a name that a module is asked for. */
  #target(file: FileScan, specifier: string): FileScan | undefined {
    if (!/^\.\.?(\/|$)/.test(specifier)) return undefined;
    for (const path of candidatePaths(file.path, specifier)) {
      const target = this.#files.get(path);
      if (target !== undefined) return target;
    }
    const path = posix.join(posix.dirname(file.path), specifier);
    throw new VeripyError(
      "bad_module",
      `${file.path}: cannot import '${specifier}': ${path} is not among the module's files.`,
    );
  }
}

/** As far as the source tells; the rest shows when the module is loaded. */
function checkExecute({ file, entry }: Found): void {
  if (entry.kind !== "constant" || !isLiteral(entry.value)) return;
  throw bad(file, entry.at, "'execute' must be a function.");
}

function isLiteral(node: SyntaxNode): boolean {
  // What nearly every module has, without the cost of an error.
  if (node.type === "ArrowFunctionExpression" || node.type === "FunctionExpression") return false;
  try {
    literalValue(node);
    return true;
  } catch (error) {
    if (error instanceof NotLiteralError) return error.isFault;
    throw error;
  }
}

/** In place of a value that only the running module knows. */
const computed = Symbol("computed");

interface Located {
  readonly value: LiteralValue;
  readonly file: FileScan;
  readonly node: SyntaxNode;
}

/** Throws for a literal that is out of bounds; anything else than a literal is `computed`. */
function optionalLiteral(found: Found | undefined): Located | undefined | typeof computed {
  if (found === undefined) return undefined;
  if (found.entry.kind !== "constant") return computed;
  try {
    return located(found, found.entry.value);
  } catch (error) {
    if (error instanceof NotLiteralError && !error.isFault) return computed;
    throw faultOf(found, error);
  }
}

function requiredLiteral(found: Found | undefined): Located | undefined {
  if (found === undefined) return undefined;
  const { name, file, entry } = found;
  if (entry.kind !== "constant")
    throw bad(
      file,
      entry.at,
      `'${name}' must be a constant with a literal, not ${entry.what}. A literal is ${literalsAre}.`,
    );
  try {
    return located(found, entry.value);
  } catch (error) {
    throw faultOf(found, error);
  }
}

function located({ file }: Found, node: SyntaxNode): Located {
  return { value: literalValue(node), file, node };
}

function faultOf({ name, file }: Found, error: unknown): unknown {
  return error instanceof NotLiteralError ? bad(file, error.at, `'${name}' ${error.message}.`) : error;
}

function checked<T>(name: string, { value, file, node }: Located, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(value, plainWords);
  if (parsed.success) return parsed.data;
  const [{ path = [], message = "" } = {}] = parsed.error.issues;
  throw bad(file, literalPart(node, path).start, `'${[name, ...path].map(String).join(".")}' ${message}.`);
}

function checkPermissions(literal: Located): DeclaredPermissions {
  if (literal.value === "all") return "all";
  if (typeof literal.value === "string")
    throw bad(literal.file, literal.node.start, `'permissions' must be an object or "all".`);
  return normalPermissions(checked("permissions", literal, permissionLists));
}

function checkDescription(literal: Located | undefined): string | undefined {
  if (literal === undefined) return undefined;
  const { value, file, node } = literal;
  const fault = descriptionFault(value);
  if (fault !== undefined) throw bad(file, node.start, fault);
  return value as string;
}

function checkInput(literal: Located | undefined): Manifest["input"] {
  if (literal === undefined) return undefined;
  const { value, file, node } = literal;
  const fault = inputFault(value);
  if (fault !== undefined) throw bad(file, node.start, fault);
  return value as Record<string, LiteralValue>;
}

function bad(file: FileScan, offset: number, message: string): VeripyError {
  return new VeripyError("bad_module", `${placeOf(file.path, file.content, offset)}: ${message}`);
}
