import { isBuiltin } from "node:module";
import { dirname, extname, isAbsolute, join, relative, resolve } from "node:path";
import { VeripyError } from "../../base/errors.ts";
import type { LoadPayload } from "../protocol.ts";
import { hookRequire, refuseOtherLoaders } from "./other-loaders.ts";
import { markNamespace, markSpecifiers } from "./specifier-mark.ts";

/**
 * Makes this process load the verified texts and nothing else. Returns the function that loads one file by its path
 * below the module folder. Call it once per process.
 *
 * - Every specifier in a module's texts, literal or computed, carries a mark that makes Bun ask here what it means.
 * - The answer is a built-in, or a file that was hashed, whose text Bun then gets from here; all else is refused.
 * - `require` in all its forms asks here too, and everything else that loads files as code is refused.
 *
 * So no import gets code from the disk. This is no sandbox: a module can start programs, bundle files (which runs their
 * macros), and evaluate text (`eval`, `new Function`, `node:vm`), in which an `import()` has no mark.
 */
export function installVerifiedLoader(
  payload: LoadPayload,
): (path: string) => Promise<Record<string, unknown>> {
  const { mod, root } = payload;
  const texts = new Map(
    Object.entries(payload.files).map(([path, text]) => [
      join(root, path),
      markSpecifiers(text, payload.specifiers[path] ?? []),
    ]),
  );
  const imports = new Map(
    Object.entries(payload.imports).map(([importer, specifiers]) => [
      join(root, importer),
      new Map(Object.entries(specifiers).map(([specifier, path]) => [specifier, join(root, path)])),
    ]),
  );
  const beforeBuiltin = refuseOtherLoaders(mod);

  function resolveSpecifier(specifier: string, importer: string): string {
    const listed = imports.get(importer)?.get(specifier);
    if (listed !== undefined) return listed;
    if (isBuiltin(specifier)) {
      beforeBuiltin(specifier);
      return specifier;
    }
    // A computed specifier is not listed, but the file it names may be.
    if (/^\.\.?\//.test(specifier) || isAbsolute(specifier)) {
      const path = resolve(dirname(importer), specifier);
      const found = ["", ".ts", ".js", ".json"]
        .map((extension) => path + extension)
        .find((each) => texts.has(each));
      if (found !== undefined) return found;
    }
    throw refusal(mod, specifier, importer === "" ? mod : relative(root, importer));
  }

  hookRequire(resolveSpecifier);
  Bun.plugin({
    name: "verified texts",
    setup(build) {
      const answer = ({ path, importer }: Bun.OnResolveArgs) => ({ path: resolveSpecifier(path, importer) });
      build.onResolve({ filter: /.*/, namespace: markNamespace }, answer);
      // Imports in evaluated text have no mark. Bun asks about some of them.
      build.onResolve({ filter: /.*/ }, answer);
      build.onLoad({ filter: /.*/ }, ({ path }) => {
        throw refusal(mod, path);
      });
      for (const [path, text] of texts) build.module(path, () => moduleOf(path, text));
    },
  });
  return (path) => import(join(root, path)) as Promise<Record<string, unknown>>;
}

/**
 * Loads a text of VeriPy's own the way a module is loaded, as if it were in the folder `root`. Bun's first import of a
 * TypeScript text from a plugin takes half as long as loading a small module; this gets it done in advance.
 */
export async function warmUpLoader(root: string): Promise<void> {
  // A module cannot have or import a file with this extension.
  const path = join(root, "warm-up.veripy");
  Bun.plugin({
    name: "warm-up",
    setup(build) {
      build.module(path, () => ({ loader: "ts", contents: warmUpText }));
    },
  });
  await import(path);
}

const warmUpText = "export async function execute(args: string): Promise<string> { return args; }";

function refusal(mod: string, what: string, importer = mod): VeripyError {
  const from = importer === mod ? "" : ` (in ${importer})`;
  return new VeripyError(
    "bad_module",
    `${mod} cannot import '${what}'${from}: it is neither a built-in module nor one of the files that were hashed with ${mod}. Import files of the module folder by a relative path with its extension, as a string literal.`,
  );
}

function moduleOf(path: string, text: string): Bun.OnLoadResult {
  const extension = extname(path);
  if (extension === ".json") return { loader: "object", exports: jsonExports(path, text) };
  return { loader: extension === ".ts" ? "ts" : "js", contents: text };
}

/** What Bun and Node give for a JSON file: the value as default and from `require`, its fields as names. */
function jsonExports(path: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new VeripyError("bad_module", `${path} is not JSON: ${(error as Error).message}.`);
  }
  return { ...(value as Record<string, unknown>), default: value, "module.exports": value };
}
