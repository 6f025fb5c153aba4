import { isBuiltin } from "node:module";
import { posix } from "node:path";
import { VeripyError } from "../base/errors.ts";
import { type FoundImport, findImports } from "./find-imports.ts";
import { parseSource, placeOf, type SyntaxNode } from "./parse-source.ts";

/** What a module may consist of. Only the first two import anything. */
const importable = [".ts", ".js", ".json"] as const;

/** What the text of a file says about its imports. */
export interface ImportScan {
  /**
   * The relative specifiers, each once, in the order of the text: static imports, re-exports, `require` and `import()`
   * of a literal. Imports of types only and built-ins of Bun and Node are left out. The target of a computed
   * `import()` is unknown: it can load only files that are also imported in another way.
   */
  readonly relative: readonly string[];
  /** The built-ins of Bun and Node that it imports at run time, each once, sorted; Node's with their prefix. */
  readonly builtins: readonly string[];
  /** Every specifier that Bun's own loader would read, erased or not, in the order of the text. */
  readonly specifiers: readonly SpecifierSpan[];
}

/** Offsets into a file's text, in UTF-16 units, of a specifier; see `FoundImport`. */
export interface SpecifierSpan {
  readonly start: number;
  readonly end: number;
  /** The string literal of a static import, where the grammar allows no expression. */
  readonly isStatic: boolean;
}

/**
 * Reads the imports of one file without running any of it. Throws `bad_module` for a file that cannot be parsed, for
 * a literal specifier that is neither relative nor a built-in, and for import attributes other than `type: "json"`
 * of a JSON file: others can make Bun run a macro or load something that was not hashed. `path` is the file's path
 * below `mods/`.
 */
export function scanImports(path: string, content: string): ImportScan {
  if (!path.endsWith(".ts") && !path.endsWith(".js")) return { relative: [], builtins: [], specifiers: [] };
  return readImports(path, content, parseSource(path, content));
}

/** Like `scanImports`, of a file that is parsed already. */
export function readImports(path: string, content: string, program: SyntaxNode): ImportScan {
  const found = findImports(program);
  for (const each of found) if (!hasGoodAttributes(each)) throw badAttributes(path, content, each);
  const literals = found.flatMap(({ literal, isErased }) =>
    literal === undefined || isErased ? [] : [literal],
  );
  const relative = new Set<string>();
  const builtins = new Set<string>();
  for (const specifier of literals) {
    if (isRelative(path, specifier)) relative.add(specifier);
    else builtins.add(/^(node|bun):|^bun$/.test(specifier) ? specifier : `node:${specifier}`);
  }
  return {
    relative: [...relative],
    builtins: [...builtins].sort(),
    specifiers: found
      .filter(({ form }) => form !== "require")
      .map(({ start, end, form }) => ({ start, end, isStatic: form === "static" })),
  };
}

function hasGoodAttributes({ attributes, literal }: FoundImport): boolean {
  if (attributes === "none") return true;
  return attributes === "json" && (literal === undefined || literal.endsWith(".json"));
}

function badAttributes(path: string, content: string, { start, literal }: FoundImport): VeripyError {
  const what = literal === undefined ? "" : ` '${literal}'`;
  return new VeripyError(
    "bad_module",
    `${placeOf(path, content, start)}: cannot import${what} with these attributes: only { type: "json" } is allowed, for .json files.`,
  );
}

/** False for a built-in, true for a relative specifier; throws for everything else. */
function isRelative(path: string, specifier: string): boolean {
  if (/^\.\.?(\/|$)/.test(specifier)) return true;
  if (isBuiltin(specifier)) return false;
  const hint =
    specifier === "veripy"
      ? "use `import type` for its types"
      : "a module may import files below mods/ (by './' or '../') and the built-in modules of Bun and Node";
  throw new VeripyError("bad_module", `${path}: cannot import '${specifier}': ${hint}.`);
}

/**
 * The paths that a relative specifier in `importer` may mean: the name as it is, then with each extension. The first
 * that exists wins. Throws `bad_module` for a specifier that cannot name a file below `mods/`.
 */
export function candidatePaths(importer: string, specifier: string): string[] {
  const path = posix.join(posix.dirname(importer), specifier);
  if (path === ".." || path.startsWith("../"))
    throw new VeripyError("bad_module", `${importer}: cannot import '${specifier}': it is outside mods/.`);
  if (specifier.includes("\\") || specifier.includes("\0"))
    throw new VeripyError(
      "bad_module",
      `${importer}: cannot import ${JSON.stringify(specifier)}: write the path with forward slashes.`,
    );
  if (path === "." || path.endsWith("/") || specifier.endsWith("/.") || specifier.endsWith("/.."))
    throw directoryImport(importer, specifier);
  return [path, ...importable.map((extension) => path + extension)];
}

/** True if a module may import a file with this path. */
export function isImportable(path: string): boolean {
  return importable.some((extension) => path.endsWith(extension));
}

export function directoryImport(importer: string, specifier: string): VeripyError {
  const example = JSON.stringify(posix.join(specifier, "index.ts").replace(/^(?!\.)/, "./"));
  return new VeripyError(
    "bad_module",
    `${importer}: cannot import '${specifier}': it is a directory; name a file in it, such as ${example}.`,
  );
}
