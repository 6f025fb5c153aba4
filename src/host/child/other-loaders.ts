import NodeModule, { isBuiltin } from "node:module";
import { VeripyError } from "../../base/errors.ts";

/** Missing from Bun's types. */
interface ModuleInternals {
  _resolveFilename: (specifier: string, importer?: { readonly filename?: string }) => string;
  readonly _extensions: Record<string, unknown>;
  runMain: unknown;
}
const moduleInternals = NodeModule as unknown as ModuleInternals;

/**
 * Makes `resolve` decide what every `require` means: a file's own, one from `createRequire`, `import.meta.require` and
 * `require.resolve`. It gets the specifier and the path of the file that asks, which is empty when there is none; it
 * returns a path or the name of a built-in, and throws to refuse.
 */
export function hookRequire(resolve: (specifier: string, importer: string) => string): void {
  moduleInternals._resolveFilename = (specifier, importer) => resolve(specifier, importer?.filename ?? "");
  const hook = moduleInternals._resolveFilename;
  // A module must not replace it by assignment.
  Object.defineProperty(moduleInternals, "_resolveFilename", {
    get: () => hook,
    set() {
      throw new VeripyError("bad_module", "Module._resolveFilename cannot be replaced.");
    },
    configurable: false,
  });
}

/**
 * Refuses everything else in Bun that loads files as code without asking a plugin. Returns a
 * function to call with the name of each built-in before the module gets it.
 */
export function refuseOtherLoaders(mod: string): (builtin: string) => void {
  const refusing = (what: string) =>
    function refused(): never {
      throw new VeripyError(
        "bad_module",
        `${mod} cannot ${what}: it could load files that were not hashed. Start a program instead, or do the work in execute.`,
      );
    };
  const Worker = refusing("start a Worker");
  Object.assign(globalThis, { Worker, ShadowRealm: refusing("make a ShadowRealm") });
  Object.assign(Bun.ModuleGraph.prototype, { import: refusing("use a ModuleGraph") });
  Object.assign(Bun.plugin, { clearAll: refusing("remove plugins") });
  moduleInternals.runMain = refusing("use Module.runMain");
  const refused = refusing("use Module._extensions");
  for (const extension in moduleInternals._extensions) moduleInternals._extensions[extension] = refused;

  let hasWorkers = true;
  function beforeBuiltin(name: string): void {
    // Loaded on demand: this takes milliseconds.
    if (!hasWorkers || !/^(node:)?worker_threads$/.test(name)) return;
    hasWorkers = false;
    Object.assign(require("node:worker_threads"), { Worker });
  }
  // This `require` goes through the hook above. Wrapping the original function would cost 0.25 ms to read it.
  process.getBuiltinModule = (name: string) => (isBuiltin(name) ? require(name) : undefined);
  return beforeBuiltin;
}
