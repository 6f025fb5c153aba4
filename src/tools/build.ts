/**
 * `bun run build` builds both executables for this machine; `bun run build:all [--only target,…]` builds those of a
 * release, with SHA256SUMS. The exit code is 0 on success, 1 if a build failed, 2 for wrong arguments.
 */
import { rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { compileExecutable, missingRuntime, readOrigin } from "./compile.ts";
import { fileSha256 } from "./digest.ts";
import { executables, parseTargets, releasePath, sha256sumLine, type Target, targets } from "./targets.ts";

const root = dirname(dirname(import.meta.dir));
const dist = join(root, "dist");

try {
  const { all, only } = readArguments();
  await (all ? buildAll(only) : buildHere());
} catch (error) {
  console.error(`build: ${error instanceof Error ? error.message : String(error)}`);
  // A failed bundle is an AggregateError whose parts say what is wrong, and where.
  if (error instanceof AggregateError) for (const part of error.errors) console.error(String(part));
  process.exitCode = 1;
}

function readArguments(): { all: boolean; only: Target[] } {
  try {
    const { values } = parseArgs({ options: { all: { type: "boolean" }, only: { type: "string" } } });
    const all = values.all ?? false;
    if (values.only !== undefined && !all) throw new Error("--only needs --all (build:all).");
    return { all, only: parseTargets(values.only) };
  } catch (error) {
    console.error(`build: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(2);
  }
}

async function buildHere(): Promise<void> {
  const origin = await readOrigin(root);
  for (const { name, entry } of executables) {
    const outfile = join(dist, process.platform === "win32" ? `${name}.exe` : name);
    await compileExecutable({ root, entry, outfile, name, origin });
    await report(outfile);
  }
}

async function buildAll(only: Target[]): Promise<void> {
  const origin = await readOrigin(root);
  const skipped: Target[] = [];
  const sums: string[] = [];
  // While a build runs, or after one failed, there must be no old sums beside new files.
  await rm(join(dist, "SHA256SUMS"), { force: true });
  for (const [index, target] of only.entries()) {
    console.log(`[${index + 1}/${only.length}] ${target}`);
    const reason = await missingRuntime(targets[target], dist);
    if (reason !== undefined) {
      skipped.push(target);
      console.log(`  skipped, because its runtime cannot be downloaded: ${reason}`);
      continue;
    }
    for (const { name, entry } of executables) {
      const outfile = releasePath(dist, name, target);
      await compileExecutable({ root, entry, outfile, name, origin, target: targets[target] });
      sums.push(sha256sumLine(await report(outfile), outfile));
    }
  }
  if (sums.length === 0) throw new Error("Cannot build a release: no target's runtime can be downloaded.");
  await writeFile(join(dist, "SHA256SUMS.tmp"), sums.join(""));
  await rename(join(dist, "SHA256SUMS.tmp"), join(dist, "SHA256SUMS"));
  console.log(
    `dist/SHA256SUMS: ${sums.length} files${skipped.length > 0 ? `; skipped ${skipped.join(", ")}` : ""}`,
  );
}

/** Prints what was built, and returns its SHA-256 in hexadecimal. */
async function report(path: string): Promise<string> {
  const sum = await fileSha256(path);
  const { size } = await stat(path);
  console.log(`  ${relative(root, path)}  ${(size / 1e6).toFixed(1)} MB  sha256 ${sum}`);
  return sum;
}
