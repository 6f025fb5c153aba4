/**
 * `bun run prepare`, which `bun install` and `bun pm pack` run too, writes the type declarations of the library to
 * dist-types/, unless they are newer than the sources. A program that adds VeriPy as a package is checked against them.
 * Without them it would check the sources, with settings of its own that the sources may not pass.
 */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "./run.ts";

const root = dirname(dirname(import.meta.dir));
const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
const declarations = join(root, "dist-types");
const stamp = join(declarations, "src", "index.d.ts");

if (!existsSync(compiler)) {
  // A production install has no compiler, and does not need types.
  console.log("prepare: skipped the type declarations, because TypeScript is not installed.");
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
