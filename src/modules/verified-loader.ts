import { realpathSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, extname, join, relative, resolve } from "node:path";
import { VeripyError } from "../base/errors.ts";
import type { LoadPayload } from "./host-protocol.ts";

/**
 * Makes this process load the verified texts and nothing else: imports of every form (static, dynamic, `require`,
 * `createRequire`) get the text that was hashed, whatever is on the disk by now, and any other file is refused.
 * Returns the function that loads one file by its path below the module folder. Call it once per process.
 *
 * This keeps a module from running code by accident that nobody hashed. It is no sandbox: a module can read a file
 * and evaluate it, start a program, import a `data:` URL that it has put together, or compute the path of a file
 * without any dot in it, about which Bun asks no plugin.
 */
export function installVerifiedLoader(
  payload: LoadPayload,
): (path: string) => Promise<Record<string, unknown>> {
  const { mod, root } = payload;
  const texts = new Map(
    Object.entries(payload.files).map(([path, text]) => [
      join(root, path),
      spellOutImports(path, text, payload.imports[path] ?? {}),
    ]),
  );
  const imports = new Map(
    Object.entries(payload.imports).map(([importer, specifiers]) => [
      join(root, importer),
      new Map(Object.entries(specifiers).map(([specifier, path]) => [specifier, join(root, path)])),
    ]),
  );

  /** Where symbolic links lead now → the paths under which their files were hashed. */
  const linkedPaths = new Map<string, string>();
  const hashedPath = (path: string) => (texts.has(path) ? path : (linkedPaths.get(path) ?? path));

  function resolveSpecifier(specifier: string, importer: string): string | undefined {
    const listed = imports.get(importer)?.get(specifier);
    if (listed !== undefined) return listed;
    // A computed specifier is in no list, but may mean a file that is.
    const path = resolve(dirname(importer), specifier);
    return texts.has(path) ? path : undefined;
  }

  /** Bun will follow a link whatever it is told here, and then ask for, and import from, where it leads. */
  function rememberLink(path: string): void {
    const real = realPathIfThere(path);
    if (real === undefined || real === path) return;
    // About a path without any dot it does not ask, but reads what is on the disk.
    if (!real.includes(".")) {
      throw new VeripyError(
        "bad_module",
        `${mod} cannot load ${relative(root, path)}: it is a link to ${real}, which must have an extension.`,
      );
    }
    linkedPaths.set(real, path);
  }

  refuseWorkers(mod, texts.values());
  Bun.plugin({
    name: "verified texts",
    setup(build) {
      build.onResolve({ filter: /.*/ }, ({ path, importer: from }) => {
        const importer = hashedPath(from);
        const found = resolveSpecifier(path, importer);
        if (found !== undefined) {
          rememberLink(found);
          return { path: found };
        }
        if (isBuiltin(path)) return undefined;
        throw refusal(mod, path, relative(root, importer));
      });
      build.onLoad({ filter: /.*/ }, ({ path }) => {
        const hashed = hashedPath(path);
        const text = texts.get(hashed);
        // Bun resolves bare names and paths without an extension by itself; they end up here.
        if (text === undefined) throw refusal(mod, path);
        const extension = extname(hashed);
        if (extension === ".json") return { loader: "object", exports: jsonExports(path, text) };
        return { loader: extension === ".ts" ? "ts" : "js", contents: text };
      });
    },
  });
  return (path) => import(join(root, path)) as Promise<Record<string, unknown>>;
}

/**
 * Loads a text of VeriPy's own the way a module's are loaded, as if it were in the folder `root`: what Bun sets up for
 * its first import of a TypeScript text from a plugin, and what it wants to know of the folder, half of the time that a
 * small module takes, is there when the module comes.
 */
export async function warmUpLoader(root: string): Promise<void> {
  // No module can have or import a file with such an extension.
  const path = join(root, "warm-up.veripy");
  let isOver = false;
  Bun.plugin({
    name: "warm-up",
    setup(build) {
      const filter = /warm-up\.veripy$/;
      const isOurs = (asked: string) => !isOver && asked === path;
      build.onResolve({ filter }, (asked) => (isOurs(asked.path) ? { path } : undefined));
      build.onLoad({ filter }, (asked) =>
        isOurs(asked.path) ? { loader: "ts", contents: warmUpText } : undefined,
      );
    },
  });
  try {
    await import(path);
  } finally {
    isOver = true;
  }
}

const warmUpText = "export async function execute(args: string): Promise<string> { return args; }";

function realPathIfThere(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

function refusal(mod: string, what: string, importer?: string): VeripyError {
  const from = importer === undefined || importer === mod ? "" : ` (in ${importer})`;
  return new VeripyError(
    "bad_module",
    `${mod} cannot import '${what}'${from}: it is no built-in of Bun or Node and none of the files that were hashed with ${mod}. Import files below the module folder by a relative path with their extension, written out as a literal.`,
  );
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

/**
 * Bun asks a plugin only about specifiers with an extension, and looks for the others on the disk. So `./lib/x`
 * becomes `./lib/x.ts` in the text, as it was resolved when it was hashed. Which of the places where the literal
 * stands are imports is not guessed: each is changed to a name of its own, and counts if the scanner then finds that.
 */
function spellOutImports(path: string, text: string, imports: Readonly<Record<string, string>>): string {
  let result = text;
  for (const [specifier, target] of Object.entries(imports)) {
    if (extname(specifier) === extname(target)) continue;
    const exact = `./${relative(dirname(path), target).replaceAll("\\", "/")}`;
    for (const quote of ['"', "'", "`"]) {
      const literal = quote + specifier + quote;
      for (let at = result.indexOf(literal); at >= 0; at = result.indexOf(literal, at + 1)) {
        const replaceBy = (name: string) =>
          result.slice(0, at) + quote + name + quote + result.slice(at + literal.length);
        if (importsOf(path, replaceBy(probe)).includes(probe)) result = replaceBy(exact);
      }
    }
  }
  return result;
}

const probe = "./veripy-import-probe.js";

function importsOf(path: string, text: string): string[] {
  const loader = extname(path) === ".ts" ? "ts" : "js";
  const scannable = text.startsWith("#!") ? `//${text.slice(2)}` : text;
  return new Bun.Transpiler({ loader }).scanImports(scannable).map((each) => each.path);
}

/** A worker would load its file from the disk, unhashed. */
function refuseWorkers(mod: string, texts: Iterable<string>): void {
  class Worker {
    constructor() {
      throw new VeripyError(
        "bad_module",
        `${mod} cannot start a Worker: its file would be loaded without having been hashed. Start a program, or do the work in execute.`,
      );
    }
  }
  // biome-ignore lint/suspicious/noExplicitAny: the stand-in has none of Worker's methods, its constructor throws
  globalThis.Worker = Worker as any;
  // Loading worker_threads to change it takes milliseconds of every start, so only where it is named at all.
  for (const text of texts) {
    if (!text.includes("worker_threads")) continue;
    (require("node:worker_threads") as { Worker: unknown }).Worker = Worker;
    return;
  }
}
