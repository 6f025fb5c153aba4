/**
 * `bun run build:reproducible` builds the checked-out commit twice, from two fresh clones in directories of different
 * depth, and compares the executables. The exit code is 1 if a byte differs.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileSha256 } from "./digest.ts";
import { outputOf, run } from "./run.ts";
import { executables } from "./targets.ts";

const root = dirname(dirname(import.meta.dir));
const directory = await mkdtemp(join(tmpdir(), "veripy-reproducible-"));
try {
  const commit = outputOf(["git", "rev-parse", "HEAD"], root);
  if (commit === undefined) throw new Error(`Cannot read the commit: ${root} is not a git checkout.`);
  console.log(`Building commit ${commit} twice.`);
  const [first, second] = [
    await buildClone(join(directory, "first"), commit),
    await buildClone(join(directory, "another", "place", "second"), commit),
  ];
  let same = true;
  for (const [index, { name }] of executables.entries()) {
    const equal = first[index] === second[index];
    same &&= equal;
    console.log(`${name}\n  ${first[index]}\n  ${second[index]}\n  ${equal ? "identical" : "DIFFERENT"}`);
  }
  if (!same) process.exitCode = 1;
} catch (error) {
  console.error(`build:reproducible: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await rm(directory, { recursive: true, force: true });
}

/** The SHA-256 of every executable, in the order of `executables`. */
async function buildClone(path: string, commit: string): Promise<string[]> {
  run(["git", "clone", "--quiet", "--no-checkout", root, path], root);
  run(["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit], path);
  run([process.execPath, "install", "--frozen-lockfile", "--silent"], path);
  run([process.execPath, "run", "--silent", "build"], path);
  const suffix = process.platform === "win32" ? ".exe" : "";
  return Promise.all(executables.map(({ name }) => fileSha256(join(path, "dist", `${name}${suffix}`))));
}
