import { afterAll, beforeAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileExecutable, missingRuntime, type Origin, readOrigin } from "../../src/tools/compile.ts";
import { fileSha256 } from "../../src/tools/digest.ts";

let directory: string;
beforeAll(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), "veripy-compile-")));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A project with one program, which prints what was built into it and a variable, or fails with a stack trace. */
function project(name: string): string {
  const root = join(directory, name);
  mkdirSync(join(root, "src"), { recursive: true });
  writeFileSync(
    join(root, "src", "main.ts"),
    `declare const VERIPY_VERSION: string, VERIPY_COMMIT: string;
function fail(): never {
  throw new Error("as asked");
}
if (process.argv[2] === "fail") fail();
console.log(VERIPY_VERSION, VERIPY_COMMIT, process.env["HOSTILE"] ?? "calm");
`,
  );
  return root;
}

async function compile(root: string, origin: Origin, name = "program"): Promise<string> {
  const outfile = join(root, "dist", name);
  await compileExecutable({ root, entry: "src/main.ts", outfile, name: "program", origin });
  return outfile;
}

const origin = { version: "1.2.3", commit: "0123456789ab" };

test("an executable knows its version and commit, and leaves nothing else in its folder", async () => {
  const root = project("origin");
  const program = await compile(root, origin);
  expect(spawnSync(program, { encoding: "utf8" }).stdout).toBe("1.2.3 0123456789ab calm\n");
  expect(readdirSync(join(root, "dist"))).toEqual(["program"]);
});

test("the folder that an executable is started in does not change what it does", async () => {
  const program = await compile(project("hostile"), origin);
  const folder = join(directory, "hostile-folder");
  mkdirSync(folder);
  writeFileSync(join(folder, ".env"), "HOSTILE=env\n");
  writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  writeFileSync(join(folder, "preload.ts"), 'process.env["HOSTILE"] = "preload";\n');
  expect(spawnSync(program, { cwd: folder, encoding: "utf8" }).stdout).toEndWith(" calm\n");
  // Its twin: Bun itself, which the folder does change.
  const uncompiled = join(folder, "probe.ts");
  writeFileSync(uncompiled, 'console.log(process.env["HOSTILE"]);\n');
  expect(spawnSync(process.execPath, [uncompiled], { cwd: folder, encoding: "utf8" }).stdout).toBe(
    "preload\n",
  );
});

test("a stack trace names the source file and line, although the program is minified", async () => {
  const program = await compile(project("trace"), origin);
  expect(spawnSync(program, ["fail"], { encoding: "utf8" }).stderr).toContain("src/main.ts:3");
});

test("builds of one commit are identical in any folder and under any final name; another commit gives another build", async () => {
  const here = await fileSha256(await compile(project("here"), origin));
  const there = await fileSha256(await compile(project("a/deeper/place"), origin, "renamed"));
  expect(there).toBe(here);
  const other = await fileSha256(await compile(project("other"), { ...origin, commit: "ba9876543210" }));
  expect(other).not.toBe(here);
});

test("a failed build leaves the previous executable unchanged", async () => {
  const root = project("broken");
  const program = await compile(root, origin);
  const before = await fileSha256(program);
  writeFileSync(join(root, "src", "main.ts"), 'import "./missing.ts";\n');
  expect(compile(root, origin)).rejects.toThrow();
  expect(await fileSha256(program)).toBe(before);
  expect(readdirSync(join(root, "dist"))).toEqual(["program"]);
});

test("this machine's own runtime is found, and one that does not exist is not", async () => {
  const own = `bun-${process.platform}-${process.arch}` as Bun.Build.CompileTarget;
  if (process.platform === "linux") expect(await missingRuntime(own, directory)).toBeUndefined();
  expect(await missingRuntime("bun-beos-x64" as Bun.Build.CompileTarget, directory)).toBeString();
});

test("a commit is marked as dirty when files differ from it, and is unknown outside a checkout", async () => {
  const root = project("checkout");
  writeFileSync(join(root, "package.json"), '{"version":"4.5.6"}\n');
  const git = (...args: string[]): string => {
    const identity = [
      "-c",
      "user.name=test",
      "-c",
      "user.email=test@localhost",
      "-c",
      "commit.gpgsign=false",
    ];
    return spawnSync("git", [...identity, ...args], { cwd: root, encoding: "utf8" }).stdout.trim();
  };
  expect(await readOrigin(root)).toEqual({ version: "4.5.6", commit: "unknown" });
  git("init", "--quiet");
  git("add", ".");
  git("commit", "--quiet", "-m", "first");
  const commit = git("rev-parse", "--short=12", "HEAD");
  expect(commit).toHaveLength(12);
  expect(await readOrigin(root)).toEqual({ version: "4.5.6", commit });
  writeFileSync(join(root, "src", "main.ts"), "// changed\n");
  expect(await readOrigin(root)).toEqual({ version: "4.5.6", commit: `${commit}-dirty` });
});
