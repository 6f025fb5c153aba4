/**
 * `bun run prepare`, which `bun install` and `bun pm pack` do by themselves: writes the type declarations of the library
 * to dist-types/, unless they are newer than the sources. A program that adds VeriPy as a package is checked against
 * them, with its own settings; the sources would have to pass under those, too.
 */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "./run.ts";

const root = dirname(dirname(import.meta.dir));
const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
const declarations = join(root, "dist-types");
const stamp = join(declarations, "src", "index.d.ts");

if (!existsSync(compiler)) {
  // An install for production has no compiler, and no use for types.
  console.log("prepare: no declarations were made, for TypeScript is not installed.");
} else if (newestSource() > writtenAt()) {
  rmSync(declarations, { recursive: true, force: true });
  run([process.execPath, compiler, "-p", join(root, "tsconfig.declarations.json")], root);
}

function newestSource(): number {
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => join("src", path));
  const files = ["package.json", "tsconfig.json", "tsconfig.declarations.json", ...sources];
  return Math.max(...files.map((path) => statSync(join(root, path)).mtimeMs));
}

function writtenAt(): number {
  return existsSync(stamp) ? statSync(stamp).mtimeMs : 0;
}
