import { describe, expect, test } from "bun:test";
import { rename, utimes } from "node:fs/promises";
import { join } from "node:path";
import { $ } from "bun";
import { detailOf, VeripyError } from "../../src/base/errors.ts";
import { isSettled, stampOf } from "../../src/base/file-stamp.ts";
import { readFileBounded } from "../../src/base/files.ts";
import { defaultLimits } from "../../src/base/limits.ts";
import { type Finding, isModuleName, ModuleScanner } from "../../src/source/module-scanner.ts";
import { ModsDir } from "../helpers/mods-dir.ts";
import { eventually } from "../helpers/within.ts";

/** A scanner whose findings come back as `name: content`, `name: gone` or the error's message, sorted. */
class Probe {
  reads = 0;
  readonly #findings: Finding[] = [];
  readonly #scanner: ModuleScanner;

  constructor(mods: ModsDir, limits = {}) {
    const found = (finding: Finding) => this.#findings.push(finding);
    this.#scanner = new ModuleScanner(mods.path, { ...defaultLimits, ...limits }, found, (path, maxBytes) => {
      this.reads++;
      return readFileBounded(path, maxBytes);
    });
  }

  async scan(): Promise<string[]> {
    await this.#scanner.scan();
    return this.#take();
  }

  /** As a registry does it, which scans when looking is not enough. */
  async look(...paths: string[]): Promise<string[]> {
    if (!(await this.#scanner.look(paths))) await this.#scanner.scan();
    return this.#take();
  }

  #take(): string[] {
    return this.#findings.splice(0).map(describeFinding).sort();
  }
}

function describeFinding({ mod, outcome }: Finding): string {
  if (outcome === undefined) return `${mod}: gone`;
  if (outcome instanceof VeripyError) return detailOf(outcome);
  return [`${mod}: ${outcome.entry.content}`, ...outcome.files.map(({ content }) => content)].join(" + ");
}

test.each([
  ["hello.ts", true],
  ["hello.js", true],
  ["hello.test.ts", true],
  ["with space.ts", true],
  ["Ünïcode.ts", true],
  [".hidden.ts", false],
  ["_shared.ts", false],
  ["types.d.ts", false],
  ["hello.tsx", false],
  ["hello.mjs", false],
  ["hello.json", false],
  ["hello", false],
  [".ts", false],
  ["lib/hello.ts", false],
])("is %p the name of a module: %p", (name, expected) => {
  expect(isModuleName(name)).toBe(expected);
});

describe("a whole scan", () => {
  test("finds the modules and no other files, and nothing more when repeated", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "// a",
      "b.js": "// b",
      "_c.ts": "",
      ".d.ts": "",
      "e.txt": "",
      "lib/f.ts": "",
    });
    const probe = new Probe(mods);
    expect(await probe.scan()).toEqual(["a.ts: // a", "b.js: // b"]);
    expect(await probe.scan()).toEqual([]);
  });

  test("finds what was added, changed and removed, imported files included", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "import './lib/x.ts'",
      "b.ts": "// b",
      "lib/x.ts": "// 1",
    });
    const probe = new Probe(mods);
    await probe.scan();
    await mods.write("c.ts", "// c");
    expect(await probe.scan()).toEqual(["c.ts: // c"]);
    await mods.write("lib/x.ts", "// 2");
    expect(await probe.scan()).toEqual(["a.ts: import './lib/x.ts' + // 2"]);
    await mods.replace("b.ts", "// B");
    await mods.remove("c.ts");
    expect(await probe.scan()).toEqual(["b.ts: // B", "c.ts: gone"]);
  });

  test("a faulty file does not hide the others, and is reported once", async () => {
    await using mods = await ModsDir.create({
      "bad.ts": "import 'left-pad'",
      "directory.ts/x": "",
      "empty.ts": "",
      "good.ts": "// good",
      "latin1.ts": Buffer.from([0x2f, 0x2f, 0xe9]),
      "large.ts": `//${"x".repeat(100)}`,
    });
    await $`mkfifo ${mods.at("fifo.ts")}`;
    await mods.link("/etc/passwd", "outside.ts");
    const probe = new Probe(mods, { maxFileBytes: 100 });
    const found = await probe.scan();
    expect(found.map((line) => line.replace(/:.*/, ""))).toEqual([
      "bad.ts",
      "directory.ts",
      "empty.ts",
      "fifo.ts",
      "good.ts",
      "large.ts",
      "latin1.ts",
      "outside.ts",
    ]);
    expect(found).toContain("good.ts: // good");
    expect(await probe.scan()).toEqual([]);
  });

  test("a missing import is found when it appears, even one that takes precedence over another", async () => {
    await using mods = await ModsDir.create({ "a.ts": "import './_x'" });
    const probe = new Probe(mods);
    expect(await probe.scan()).toEqual(["a.ts: cannot import './_x': there is no such file."]);
    await mods.write("_x.js", "// js");
    expect(await probe.scan()).toEqual(["a.ts: import './_x' + // js"]);
    await mods.write("_x.ts", "// ts");
    expect(await probe.look("_x.ts")).toEqual(["a.ts: import './_x' + // ts"]);
  });

  test("a missing mods/ has no modules, and is found when it appears", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    const probe = new Probe(mods);
    await probe.scan();
    await rename(mods.path, join(mods.outside, "aside"));
    expect(await probe.scan()).toEqual(["a.ts: gone"]);
    await rename(join(mods.outside, "aside"), mods.path);
    expect(await probe.scan()).toEqual(["a.ts: // a"]);
  });

  test("mods/ that is a file is an error, not a folder without modules", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    const probe = new Probe(mods);
    await probe.scan();
    await rename(mods.path, join(mods.outside, "aside"));
    await Bun.write(mods.path, "");
    await expect(probe.scan()).rejects.toThrow("ENOTDIR");
    await $`rm ${mods.path}`;
    await rename(join(mods.outside, "aside"), mods.path);
    expect(await probe.scan()).toEqual([]);
  });

  test("beyond maxModules, the first by name are found, and the others fail with the reason", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a", "b.ts": "// b", "c.ts": "// c" });
    const probe = new Probe(mods, { maxModules: 2 });
    const excess = (mod: string) => `${mod}: mods/ has more than 2 modules.`;
    expect(await probe.scan()).toEqual(["a.ts: // a", "b.ts: // b", excess("c.ts")]);
    expect(await probe.scan()).toEqual([]);
    await mods.remove("a.ts");
    expect(await probe.look("a.ts")).toEqual(["a.ts: gone", "c.ts: // c"]);
    await mods.write("aa.ts", "// aa");
    expect(await probe.look("aa.ts")).toEqual(["aa.ts: // aa", excess("c.ts")]);
  });
});

describe("names that differ only in case", () => {
  const twin = (mod: string, others: string) =>
    `${mod}: mods/ also has ${others}, which differs only in case; rename one of them.`;

  test("all fail, whichever came first", async () => {
    await using mods = await ModsDir.create({ "hello.ts": "// 1", "other.ts": "// 3" });
    const probe = new Probe(mods);
    expect(await probe.scan()).toEqual(["hello.ts: // 1", "other.ts: // 3"]);
    await mods.write("Hello.ts", "// 2");
    const both = [twin("Hello.ts", "hello.ts"), twin("hello.ts", "Hello.ts")];
    expect(await probe.look("Hello.ts")).toEqual(both);
    expect(await probe.scan()).toEqual([]);
    expect(await new Probe(mods).scan()).toEqual([...both, "other.ts: // 3"]);
  });

  test("all fail if they came at once", async () => {
    await using mods = await ModsDir.create();
    const probe = new Probe(mods);
    await probe.scan();
    await mods.write("a.ts", "// 1");
    await mods.write("A.ts", "// 2");
    expect(await probe.look("a.ts", "A.ts")).toEqual([twin("A.ts", "a.ts"), twin("a.ts", "A.ts")]);
  });

  test("are modules again when only one is left", async () => {
    await using mods = await ModsDir.create({ "hello.ts": "// 1", "Hello.ts": "// 2" });
    const probe = new Probe(mods);
    await probe.scan();
    await mods.remove("Hello.ts");
    expect(await probe.look("Hello.ts")).toEqual(["Hello.ts: gone", "hello.ts: // 1"]);
  });
});

describe("a hint", () => {
  test("is enough to find a change, an addition and a removal", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a", "b.ts": "// b" });
    const probe = new Probe(mods);
    await probe.scan();
    await mods.write("a.ts", "// A");
    await mods.write("c.ts", "// c");
    await mods.remove("b.ts");
    expect(await probe.look("a.ts", "b.ts", "c.ts")).toEqual(["a.ts: // A", "b.ts: gone", "c.ts: // c"]);
  });

  test("at an imported file reads every module that imports it, and no other", async () => {
    await using mods = await ModsDir.create({
      "a.ts": "import './lib/x.ts'",
      "b.ts": "import './lib/y.ts'",
      "c.ts": "// c",
      "lib/x.ts": "// x",
      "lib/y.ts": "import './x.ts'",
    });
    const probe = new Probe(mods);
    await probe.scan();
    await mods.write("lib/x.ts", "// X");
    expect(await probe.look("lib/x.ts")).toEqual([
      "a.ts: import './lib/x.ts' + // X",
      "b.ts: import './lib/y.ts' + // X + import './x.ts'",
    ]);
  });

  test("at a module and an unknown file reads that module and asks for a scan", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a", "b.ts": "// b" });
    const findings: string[] = [];
    const found = (finding: Finding) => findings.push(describeFinding(finding));
    const scanner = new ModuleScanner(mods.path, defaultLimits, found);
    await scanner.scan();
    findings.length = 0;
    await mods.write("a.ts", "// A");
    await mods.write("b.ts", "// B");
    expect(await scanner.look(["a.ts.tmp", "a.ts"])).toBe(false);
    expect(findings).toEqual(["a.ts: // A"]);
    expect(await scanner.look(["a.ts"])).toBe(true);
    await scanner.scan();
    expect(findings).toEqual(["a.ts: // A", "b.ts: // B"]);
  });

  test("at an unknown file finds every change", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    const probe = new Probe(mods);
    await probe.scan();
    await mods.write("b.ts", "// b");
    await mods.write("a.ts", "// A");
    expect(await probe.look("some-directory")).toEqual(["a.ts: // A", "b.ts: // b"]);
  });

  test("at a rewrite of the same bytes reports the same outcome, once", async () => {
    await using mods = await ModsDir.create({ "a.ts": "// a" });
    const findings: Finding[] = [];
    const scanner = new ModuleScanner(mods.path, defaultLimits, (finding) => findings.push(finding));
    await scanner.scan();
    await mods.replace("a.ts", "// a");
    await scanner.look(["a.ts"]);
    await scanner.look(["a.ts"]);
    expect(findings.length).toBe(2);
    expect(findings[1]?.key).toBe(findings[0]?.key ?? "");
    expect(findings[1]?.outcome).toBe(findings[0]?.outcome);
  });
});

test("unchanged files whose stamps are old enough are not read again, and a changed one is", async () => {
  await using mods = await ModsDir.create({ "a.ts": "import './x.ts'", "_y.ts": "", "x.ts": "// 1" });
  const probe = new Probe(mods);
  const written = await stampOf(mods.at("_y.ts"));
  await probe.scan();
  await eventually("the stamps to be old enough", () => isSettled(written, Date.now() - 10));
  await probe.scan();
  probe.reads = 0;
  await probe.scan();
  expect(probe.reads).toBe(0);
  await mods.write("x.ts", "// 2");
  const old = new Date(written.changedMs - 60_000);
  await utimes(mods.at("x.ts"), old, old);
  expect(await probe.scan()).toEqual(["a.ts: import './x.ts' + // 2", "x.ts: // 2"]);
});

test("while many modules are read, everything else gets its turn again and again", async () => {
  const names = Array.from({ length: 500 }, (_, at) => `m${at}.ts`);
  const text = "export const execute = (args: string) => args;";
  await using mods = await ModsDir.create(Object.fromEntries(names.map((name) => [name, text])));
  let turns = 0;
  let next: ReturnType<typeof setImmediate> | undefined;
  const takeTurns = () => {
    turns++;
    next = setImmediate(takeTurns);
  };
  const scanner = new ModuleScanner(mods.path, defaultLimits, () => {
    next ??= setImmediate(takeTurns);
  });
  await scanner.scan().finally(() => clearImmediate(next));
  expect(turns).toBeGreaterThanOrEqual(5);
});
