import { isBuiltin } from "node:module";
import { posix } from "node:path";
import { messageOf, VeripyError } from "../base/errors.ts";

/** What a module may consist of. Only the first two import anything. */
const importable = [".ts", ".js", ".json"] as const;

const scanners = {
  ".ts": new Bun.Transpiler({ loader: "ts" }),
  ".js": new Bun.Transpiler({ loader: "js" }),
};

/**
 * The relative specifiers of one file, each once, in their order: static imports, re-exports, `require` and
 * `import()` of a literal. `import type` is erased and not among them; neither are built-ins of Bun and Node.
 * A computed `import()` cannot be seen here: it finds only what is listed otherwise. Throws `bad_module` for a
 * file that cannot be parsed and for any other specifier; `path` is the file's path below `mods/`.
 */
export function relativeImports(path: string, content: string): string[] {
  const scanner = scanners[posix.extname(path) as keyof typeof scanners];
  if (scanner === undefined) return [];
  let found: ReturnType<typeof scanner.scanImports>;
  try {
    // The scanner, unlike the loader, does not know `#!` lines; as a comment the line keeps every position.
    found = scanner.scanImports(content.startsWith("#!") ? `//${content.slice(2)}` : content);
  } catch (thrown) {
    // Of several faults, the first tends to bring about the others.
    const error = thrown instanceof AggregateError ? (thrown.errors[0] ?? thrown) : thrown;
    throw new VeripyError("bad_module", `${path}${positionOf(error)}: ${messageOf(error)}`, {
      cause: thrown,
    });
  }
  const specifiers = [...new Set(found.map((each) => each.path))];
  return specifiers.filter((specifier) => isRelative(path, specifier));
}

/** False for a built-in, true for a relative specifier; throws for everything else. */
function isRelative(path: string, specifier: string): boolean {
  if (/^\.\.?(\/|$)/.test(specifier)) return true;
  if (isBuiltin(specifier)) return false;
  const hint =
    specifier === "veripy"
      ? "its types are imported with `import type`"
      : "a module may import files below mods/ (by './' or '../') and what is built into Bun";
  throw new VeripyError("bad_module", `${path}: cannot import '${specifier}': ${hint}.`);
}

/**
 * The paths that a relative specifier of `importer` may mean, the first that is a file counts: the name as it is,
 * then with each extension added. Throws `bad_module` for what no file below `mods/` can be.
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

/** True for the path of a file that a module may import. */
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

/** `:3:14` for an error of the transpiler that knows where it is. */
function positionOf(error: unknown): string {
  if (!(error instanceof BuildMessage) || error.position === null) return "";
  return `:${error.position.line}:${error.position.column}`;
}
