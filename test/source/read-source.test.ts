import { describe, expect, test } from "bun:test";
import { chmod, mkdir, rename, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { $ } from "bun";
import { VeripyError } from "../../src/base/errors.ts";
import { readFileBounded } from "../../src/base/files.ts";
import { defaultLimits } from "../../src/base/limits.ts";
import type { ModuleSource } from "../../src/source/module-source.ts";
import { readModuleSource } from "../../src/source/read-source.ts";
import { ModsDir } from "../helpers/mods-dir.ts";

function read(mods: ModsDir, mod: string, limits = {}): Promise<ModuleSource> {
  return readModuleSource(mods.path, mod, { ...defaultLimits, ...limits });
}

async function failureOf(reading: Promise<unknown>): Promise<VeripyError> {
  try {
    await reading;
  } catch (error) {
    if (error instanceof VeripyError) return error;
    throw error;
  }
  throw new Error("It did not fail.");
}

function pathsOf(source: ModuleSource): string[] {
  return source.files.map(({ path }) => path);
}

describe("bytes", () => {
  const contents: Record<string, string> = {
    "a byte-order mark": "\ufeffexport const x = 1;\n",
    CRLF: "export const x = 1;\r\nexport const y = 2;\r\n",
    "no last newline": "export const x = 1;",
    NUL: "export const x = `a\0b`;\n",
    "U+2028 and U+2029": "export const x = `a\u2028b\u2029c`;\n",
    "astral characters": "export const x = '\u{1f600}\u{10ffff}';\n",
    "a replacement character of its own": "export const x = '\ufffd';\n",
    "600 KB": `export const x = "${"ä".repeat(300_000)}";\n`,
  };
  for (const [what, content] of Object.entries(contents)) {
    test(`${what} survives, and the sum is what sha256sum prints`, async () => {
      await using mods = await ModsDir.create({ "m.ts": content });
      const source = await read(mods, "m.ts");
      expect(source.entry.content).toBe(content);
      expect(source.sum as string).toBe(await mods.sha256sum("m.ts"));
      expect(source.tree as string).toBe(await mods.treeSum("m.ts"));
      expect(source.files).toEqual([]);
    });
  }

  test("bytes that are not UTF-8 are refused, in the module and in what it imports", async () => {
    const latin1 = Buffer.from("export const x = 'caf\xe9';\n", "latin1");
    await using mods = await ModsDir.create({
      "m.ts": latin1,
      "n.ts": "import './lib/l.ts';",
      "lib/l.ts": latin1,
    });
    expect(await failureOf(read(mods, "m.ts"))).toMatchObject({
      code: "bad_module",
      message: "m.ts: it is not valid UTF-8; save it as UTF-8.",
    });
    expect((await failureOf(read(mods, "n.ts"))).message).toStartWith("lib/l.ts: it is not valid UTF-8");
  });

  test("an empty module is refused, an empty import is fine", async () => {
    await using mods = await ModsDir.create({ "m.ts": "", "n.ts": "import './empty.ts';", "empty.ts": "" });
    expect((await failureOf(read(mods, "m.ts"))).message).toStartWith("m.ts: it is empty");
    expect(pathsOf(await read(mods, "n.ts"))).toEqual(["empty.ts"]);
  });
});

describe("imports", () => {
  test("every form of import is found, and the tree is what sha256sum prints for all files", async () => {
    await using mods = await ModsDir.create({
      "m.ts": `#!/usr/bin/env bun
        import { a } from "./lib/a.ts";
        export * from "./lib/b";
        export { c } from './lib/c.js';
        import data from "./lib/data.json" with { type: "json" };
        import sub from "./lib/sub";
        const e = await import("./lib/e.ts");
        const f = require("./lib/f");
        console.log(a, data, sub, e, f);`,
      "lib/a.ts": "import './deep/g.ts'; export const a = 1;",
      "lib/b.ts": "export const b = 1;",
      "lib/c.js": "export { h as c } from '../h.ts';",
      "lib/data.json": "{}",
      "lib/sub.json": "[]",
      "lib/e.ts": "",
      "lib/f.js": "module.exports = 1;",
      "lib/deep/g.ts": "",
      "h.ts": "export const h = 1;",
      "lib/unused.ts": "",
    });
    const source = await read(mods, "m.ts");
    const files = [
      "h.ts",
      "lib/a.ts",
      "lib/b.ts",
      "lib/c.js",
      "lib/data.json",
      "lib/deep/g.ts",
      "lib/e.ts",
      "lib/f.js",
      "lib/sub.json",
    ];
    expect(pathsOf(source)).toEqual(files);
    expect(source.tree as string).toBe(await mods.treeSum(...files, "m.ts"));
    for (const { path, sum } of source.files) expect(sum as string).toBe(await mods.sha256sum(path));
    expect(source.imports).toEqual({
      "m.ts": {
        "./lib/a.ts": "lib/a.ts",
        "./lib/b": "lib/b.ts",
        "./lib/c.js": "lib/c.js",
        "./lib/data.json": "lib/data.json",
        "./lib/sub": "lib/sub.json",
        "./lib/e.ts": "lib/e.ts",
        "./lib/f": "lib/f.js",
      },
      "lib/a.ts": { "./deep/g.ts": "lib/deep/g.ts" },
      "lib/c.js": { "../h.ts": "h.ts" },
    });
  });

  test("built-ins and types need no file", async () => {
    await using mods = await ModsDir.create({
      "m.ts": `import type { ModuleContext } from "veripy";
        import { type Nothing, x } from "./x.ts";
        import { readFile } from "node:fs/promises";
        import os from "os";
        import { Database } from "bun:sqlite";
        import { $ } from "bun";
        export async function execute(args: string, ctx: ModuleContext): Promise<string> {
          return String([x, readFile, os, Database, $, args, ctx]);
        }`,
      "x.ts": "export const x = 1; export type Nothing = undefined;",
    });
    expect(pathsOf(await read(mods, "m.ts"))).toEqual(["x.ts"]);
  });

  const refused: Record<string, string> = {
    "left-pad": "m.ts: cannot import 'left-pad': a module may import files below mods/",
    veripy: "m.ts: cannot import 'veripy': use `import type` for its types",
    "node:nope": "m.ts: cannot import 'node:nope'",
    "/etc/hosts.ts": "m.ts: cannot import '/etc/hosts.ts'",
    "file:///etc/hosts.ts": "m.ts: cannot import 'file:///etc/hosts.ts'",
    "https://example.org/x.ts": "m.ts: cannot import 'https://example.org/x.ts'",
    "data:text/javascript,1": "m.ts: cannot import 'data:text/javascript,1'",
    "../outside.ts": "m.ts: cannot import '../outside.ts': it is outside mods/",
    "./lib/../../outside.ts": "m.ts: cannot import './lib/../../outside.ts': it is outside mods/",
    "./missing": "m.ts: cannot import './missing': there is no such file",
    "./x.ts?v=1": "m.ts: cannot import './x.ts?v=1': there is no such file",
    "./lib": "m.ts: cannot import './lib': it is a directory; name a file in it, such as \"./lib/index.ts\"",
    "./lib/": "m.ts: cannot import './lib/': it is a directory",
    "./": "m.ts: cannot import './': it is a directory",
    ".": "m.ts: cannot import '.': it is a directory",
    "./notes.txt": "m.ts: cannot import './notes.txt': a module may import .ts, .js and .json files",
    "./back\\\\slash.ts": 'm.ts: cannot import "./back\\\\slash.ts": write the path with forward slashes',
  };
  for (const [specifier, message] of Object.entries(refused)) {
    test(`an import of '${specifier}' is refused by name`, async () => {
      await using mods = await ModsDir.create({
        "m.ts": `import x from "${specifier}"; console.log(x);`,
        "x.ts": "",
        "lib/index.ts": "",
        "notes.txt": "",
      });
      await writeFile(join(mods.outside, "outside.ts"), "");
      const failure = await failureOf(read(mods, "m.ts"));
      expect(failure.code).toBe("bad_module");
      expect(failure.message).toStartWith(message);
    });
  }

  test("a bad import of an imported file is reported with that file's name", async () => {
    await using mods = await ModsDir.create({
      "m.ts": "import './lib/a.ts'",
      "lib/a.ts": "import 'left-pad'",
    });
    expect((await failureOf(read(mods, "m.ts"))).message).toStartWith("lib/a.ts: cannot import 'left-pad'");
  });

  test("a file that cannot be parsed is reported with line and column", async () => {
    await using mods = await ModsDir.create({ "m.ts": "export const a = 1;\nexport const b = ;\n" });
    expect((await failureOf(read(mods, "m.ts"))).message).toStartWith("m.ts:2:18: Unexpected ;");
  });

  test("of several faults the first is reported, with its place", async () => {
    await using mods = await ModsDir.create({ "m.ts": "export const a = 1;\n\nconst = 7;\n" });
    expect((await failureOf(read(mods, "m.ts"))).message).toStartWith("m.ts:3:7: Expected identifier");
  });

  test("a file counts before a directory of the same name", async () => {
    await using mods = await ModsDir.create({ "m.ts": "import './lib'", "lib.ts": "", "lib/index.ts": "" });
    expect(pathsOf(await read(mods, "m.ts"))).toEqual(["lib.ts"]);
  });

  test("circular imports end, and each file is listed once", async () => {
    await using mods = await ModsDir.create({
      "m.ts": "import './a.ts'; import './m.ts';",
      "a.ts": "import './b.ts'; import './m.ts';",
      "b.ts": "import './a.ts'; import './b.ts';",
    });
    const source = await read(mods, "m.ts");
    expect(pathsOf(source)).toEqual(["a.ts", "b.ts"]);
    expect(source.tree as string).toBe(await mods.treeSum("a.ts", "b.ts", "m.ts"));
  });

  test("imported files whose names differ only in case are refused", async () => {
    await using mods = await ModsDir.create({
      "m.ts": "import './a.ts'; import './A.ts';",
      "a.ts": "",
      "A.ts": "",
    });
    expect((await failureOf(read(mods, "m.ts"))).message).toBe(
      "a.ts: its name and that of A.ts differ only in case.",
    );
  });
});

describe("limits", () => {
  test("a file may have maxFileBytes, and not one byte more", async () => {
    await using mods = await ModsDir.create({
      "at.ts": `//${"x".repeat(98)}`,
      "past.ts": `//${"x".repeat(99)}`,
    });
    expect((await read(mods, "at.ts", { maxFileBytes: 100 })).entry.content.length).toBe(100);
    expect(await failureOf(read(mods, "past.ts", { maxFileBytes: 100 }))).toMatchObject({
      code: "too_large",
      message: "past.ts: it has more than 100 bytes.",
    });
  });

  test("all files of a module may have maxTreeBytes, and not one byte more", async () => {
    await using mods = await ModsDir.create({ "m.ts": "import './a.ts'", "a.ts": "//3" });
    const bytes = "import './a.ts'//3".length;
    expect(pathsOf(await read(mods, "m.ts", { maxTreeBytes: bytes }))).toEqual(["a.ts"]);
    expect(await failureOf(read(mods, "m.ts", { maxTreeBytes: bytes - 1 }))).toMatchObject({
      code: "too_large",
      message: `a.ts: the module's files together have more than ${bytes - 1} bytes.`,
    });
  });

  test("a module may have maxTreeFiles files with its own, and not one more", async () => {
    await using mods = await ModsDir.create({
      "m.ts": "import './a.ts'; import './b.ts'",
      "a.ts": "",
      "b.ts": "",
    });
    expect(pathsOf(await read(mods, "m.ts", { maxTreeFiles: 3 }))).toEqual(["a.ts", "b.ts"]);
    expect(await failureOf(read(mods, "m.ts", { maxTreeFiles: 2 }))).toMatchObject({
      code: "too_large",
      message: "b.ts: the module has more than 2 files.",
    });
  });
});

describe("what is no ordinary file", () => {
  test("nothing at all", async () => {
    await using mods = await ModsDir.create();
    expect((await failureOf(read(mods, "m.ts"))).message).toStartWith("m.ts: there is no such file");
    const gone = readModuleSource(join(mods.outside, "nowhere"), "m.ts", defaultLimits);
    expect((await failureOf(gone)).message).toStartWith("m.ts: ");
  });

  test("a directory is refused", async () => {
    await using mods = await ModsDir.create({ "m.ts/x.ts": "" });
    expect((await failureOf(read(mods, "m.ts"))).message).toBe("m.ts: it is a directory.");
  });

  test("a FIFO without a writer is refused at once, as a module and as an import", async () => {
    await using mods = await ModsDir.create({ "n.ts": "import './m.ts'" });
    await $`mkfifo ${mods.at("m.ts")}`;
    expect((await failureOf(read(mods, "m.ts"))).message).toBe("m.ts: it is not a regular file.");
    expect((await failureOf(read(mods, "n.ts"))).message).toBe("m.ts: it is not a regular file.");
  });

  test.skipIf(process.platform === "win32")("a device is refused without being opened", async () => {
    await using mods = await ModsDir.create();
    await mods.link("/dev/zero", "m.ts");
    expect((await failureOf(read(mods, "m.ts"))).message).toBe("m.ts: it is not a regular file.");
  });

  // Root may read everything.
  test.skipIf(process.getuid?.() === 0)("a file without read permission is refused", async () => {
    await using mods = await ModsDir.create({ "m.ts": "export {}" });
    await chmod(mods.at("m.ts"), 0o000);
    expect((await failureOf(read(mods, "m.ts"))).message).toStartWith("m.ts: it cannot be read: EACCES");
  });

  test("an error of the file system is a reason like any other", async () => {
    await using mods = await ModsDir.create({ "m.ts": "export {}" });
    const failing = readModuleSource(mods.path, "m.ts", defaultLimits, async () => {
      throw Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
    });
    expect((await failureOf(failing)).message).toBe("m.ts: it cannot be read: EIO: i/o error.");
  });
});

describe("symbolic links", () => {
  test("a link inside is followed, and its target's bytes count under the link's path", async () => {
    await using mods = await ModsDir.create({
      "..data/m.ts": "import './lib/a.ts'",
      "..data/a.ts": "export const a = 1;",
    });
    await mods.link("..data/m.ts", "m.ts");
    await mods.link("../..data/a.ts", "lib/a.ts");
    const source = await read(mods, "m.ts");
    expect(pathsOf(source)).toEqual(["lib/a.ts"]);
    expect(source.root).toBe(await mods.root());
    expect(source.tree as string).toBe(await mods.treeSum("lib/a.ts", "m.ts"));
  });

  test("mods/ itself may be a link", async () => {
    await using mods = await ModsDir.create({ "m.ts": "import './a.ts'", "a.ts": "" });
    await rename(mods.path, join(mods.outside, "release-1"));
    await symlink("release-1", mods.path);
    const source = await read(mods, "m.ts");
    expect(source.root).toBe(await mods.root());
    expect(pathsOf(source)).toEqual(["a.ts"]);
  });

  test("a link out of mods/ is refused: the module, an import, and through a linked directory", async () => {
    await using mods = await ModsDir.create({
      "import-file.ts": "import './out.ts'",
      "import-dir.ts": "import './dir/secret.ts'",
    });
    // Beside mods/, with a name that begins like it.
    await mkdir(join(mods.outside, "mods-secret"));
    await writeFile(join(mods.outside, "mods-secret/secret.ts"), "export {}");
    await mods.link("../mods-secret/secret.ts", "out.ts");
    await mods.link("../mods-secret", "dir");
    for (const mod of ["out.ts", "import-file.ts"])
      expect((await failureOf(read(mods, mod))).message).toStartWith(
        "out.ts: it is a symbolic link that leads out of mods/",
      );
    expect((await failureOf(read(mods, "import-dir.ts"))).message).toStartWith(
      "dir/secret.ts: it is a symbolic link that leads out of mods/",
    );
  });

  test("a dangling link and a circle of links are refused", async () => {
    await using mods = await ModsDir.create();
    await mods.link("nowhere.ts", "dangling.ts");
    await mods.link("b.ts", "a.ts");
    await mods.link("a.ts", "b.ts");
    expect((await failureOf(read(mods, "dangling.ts"))).message).toBe(
      "dangling.ts: it is a dangling symbolic link.",
    );
    expect((await failureOf(read(mods, "a.ts"))).message).toStartWith(
      "a.ts: it cannot be read: its symbolic links form a loop",
    );
  });
});

describe("a file that changes while it is read", () => {
  test("each file is read again until two passes agree", async () => {
    await using mods = await ModsDir.create({ "m.ts": "import './a.ts'", "a.ts": "// 0" });
    let reads = 0;
    const source = await readModuleSource(mods.path, "m.ts", defaultLimits, async (path, maxBytes) => {
      const bytes = await readFileBounded(path, maxBytes);
      if (path.endsWith("a.ts") && ++reads <= 3) await mods.write("a.ts", `// ${reads}`);
      return bytes;
    });
    expect(source.files[0]?.content).toBe("// 3");
    expect(reads).toBe(5);
  });

  test("one that never stops changing is an error, not an endless wait", async () => {
    await using mods = await ModsDir.create({ "m.ts": "// 0" });
    let reads = 0;
    const failing = readModuleSource(mods.path, "m.ts", defaultLimits, async (path, maxBytes) => {
      const bytes = await readFileBounded(path, maxBytes);
      await mods.write("m.ts", `// ${++reads}`);
      return bytes;
    });
    expect(await failureOf(failing)).toMatchObject({
      code: "bad_module",
      message: "m.ts: it kept changing while being read (10 attempts).",
    });
    expect(reads).toBe(10);
  });

  test("one that is missing in the first pass and back in the second is read", async () => {
    await using mods = await ModsDir.create({ "m.ts": "import './a.ts'", "a.ts": "// 1" });
    let reads = 0;
    const source = await readModuleSource(mods.path, "m.ts", defaultLimits, async (path, maxBytes) => {
      if (path.endsWith("m.ts") && ++reads <= 2) {
        if (reads === 1) await mods.remove("a.ts");
        else await mods.write("a.ts", "// 2");
      }
      return readFileBounded(path, maxBytes);
    });
    expect(source.files[0]?.content).toBe("// 2");
  });

  test("a file of the same size whose times were set back is not mistaken for the old one", async () => {
    await using mods = await ModsDir.create({ "m.ts": "// 1" });
    const { atime, mtime } = await stat(mods.at("m.ts"));
    const before = await read(mods, "m.ts");
    await mods.write("m.ts", "// 2");
    await utimes(mods.at("m.ts"), atime, mtime);
    const after = await read(mods, "m.ts");
    expect([before.entry.content, after.entry.content]).toEqual(["// 1", "// 2"]);
  });
});
