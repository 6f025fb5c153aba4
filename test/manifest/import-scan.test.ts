import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { VeripyError } from "../../src/base/errors.ts";
import { withDefaultLimits } from "../../src/base/limits.ts";
import { scanImports } from "../../src/manifest/import-scan.ts";
import { readModuleSource } from "../../src/source/read-source.ts";
import { ModsDir } from "../helpers/mods-dir.ts";
import { run } from "../helpers/processes.ts";

const relative = (text: string, path = "m.ts") => scanImports(path, text).relative;

function refusal(text: string, path = "m.ts"): string {
  try {
    scanImports(path, text);
  } catch (error) {
    if (error instanceof VeripyError && error.code === "bad_module") return error.message;
    throw error;
  }
  throw new Error(`It was not refused: ${text}`);
}

describe("what a file imports", () => {
  const forms: [text: string, relative: string[]][] = [
    [
      `import "./a"; import b from "./b"; import * as c from "./c"; import { d } from "./d";`,
      ["./a", "./b", "./c", "./d"],
    ],
    [`export { a } from "./a"; export * from "./b"; export * as c from "./c";`, ["./a", "./b", "./c"]],
    [
      `const a = await import("./a"), b = import(\`./b\`), c = require("./c"), d = require(\`./d\`);`,
      ["./a", "./b", "./c", "./d"],
    ],
    [`if (false) require?.("./a"); function f() { return import(("./b")); }`, ["./a", "./b"]],
    [`import "./b"; import "./a"; import("./b"); import "../c";`, ["./b", "./a", "../c"]],
    [`import "\\x2e/a"; import('./\\u0062');`, ["./a", "./b"]],
    [`import "node:fs"; import "fs"; require("bun:sqlite"); import("bun");`, []],
    [
      `import(name); import("./" + name); import(\`./\${name}\`); require(name); require("./a", 1); f.require("./b");`,
      [],
    ],
    [
      `// import "./a"\n/* import("./b") */ const c = "import './c'", d = /import("d")/, e = { require: "./e" };`,
      [],
    ],
  ];
  test.each(forms)("%s", (text, expected) => {
    expect(relative(text)).toEqual(expected);
    expect(relative(text, "m.js")).toEqual(expected);
  });

  const typed: [text: string, relative: string[]][] = [
    [
      `import type { A } from "veripy"; import { type A as B } from "veripy"; import type C from "left-pad";`,
      [],
    ],
    [
      `export type { A } from "veripy"; export { type A as B } from "veripy"; export type * from "left-pad";`,
      [],
    ],
    [
      `import type x = require("left-pad"); type T = import("left-pad").T; let t: typeof import("left-pad");`,
      [],
    ],
    [
      `declare module "left-pad" { import x from "right-pad"; } declare global { export { y } from "z"; }`,
      [],
    ],
    [
      `import { type A, b } from "./a"; export { type C, d } from "./c"; import e, { type F } from "./e";`,
      ["./a", "./c", "./e"],
    ],
    [
      `import { A } from "./unused"; let a: A; import {} from "./empty"; export {} from "./too";`,
      ["./unused", "./empty", "./too"],
    ],
    [`import x = require("./a"); export import y = require("./b"); import z = x.y;`, ["./a", "./b"]],
    [
      `import("./a" as string); import(<any>"./b"); require("./c"!); require<T>("./d" satisfies string);`,
      ["./a", "./b", "./c", "./d"],
    ],
    [`enum E { A = require("./a").a } namespace N { export const b = require("./b"); }`, ["./a", "./b"]],
    [
      `@dec(import("./a")) class A { @dec(require("./b")) c = import("./c"); constructor(private d = import("./d")) {} }`,
      ["./a", "./b", "./c", "./d"],
    ],
    [
      `interface A { f<const T>(a: T): void } import(\n  "./a",\n); await import("./b.json", { with: { type: "json" } },);`,
      ["./a", "./b.json"],
    ],
  ];
  test.each(typed)("%s", (text, expected) => expect(relative(text)).toEqual(expected));

  test("JSON imports nothing, whatever it says", () => {
    expect(scanImports("d.json", `import "./a"`)).toEqual({ relative: [], builtins: [], specifiers: [] });
  });
});

describe("a text that cannot be parsed is refused with its place", () => {
  test.each([
    ["const a = 1;\nconst b = ;", "m.ts:2:11: Unexpected ;"],
    ["#!/usr/bin/env bun\nlet 1;", "m.ts:2:1: "],
    ["a;\r\nconst = 7;\r\n", "m.ts:2:7: Expected identifier but found ="],
    ["f(\u2028(", "m.ts:2:2: Unexpected end of file"],
    ["const é = '𝒳', = 1;", "m.ts:1:17: Expected identifier but found ="],
    [`import { a } from "x`, "m.ts:1:19: Unterminated string constant"],
    ["export const a = 1, a = 2;", "m.ts:1:21: Identifier 'a' has already been declared"],
    ["return 1;", "m.ts:1:1: 'return' outside of function"],
  ])("%j", (text, message) => {
    expect(refusal(text)).toStartWith(message);
    expect(refusal(text, "m.js")).toStartWith(message.replace("m.ts", "m.js"));
  });
});

describe("import attributes", () => {
  const allowed = [
    `import a from "./a.json" with { type: "json" };`,
    `import a from "./a.json" with { "type": "json" };`,
    `export { default } from "./a.json" with { type: "json" };`,
    `import("./a.json", { with: { type: "json" } });`,
    `import("./a.json", { "with": { "type": \`json\` } });`,
  ];
  test.each(allowed)("%s is allowed", (text) => {
    expect(relative(text)).toEqual(["./a.json"]);
    expect(relative(text, "m.js")).toEqual(["./a.json"]);
  });

  test("JSON needs none, and may be computed", () => {
    expect(relative(`import a from "./a.json"; import("./" + b, { with: { type: "json" } });`)).toEqual([
      "./a.json",
    ]);
  });

  const types = [
    "macro",
    "text",
    "file",
    "toml",
    "sqlite",
    "sqlite_embedded",
    "js",
    "wasm",
    "html",
    "JSON",
    "",
    "x",
  ];
  const clauses = [
    ...types.map((type) => `{ type: "${type}" }`),
    `{ type: "json", lazy: "true" }`,
    `{ embed: "true" }`,
    `{ "resolution-mode": "import" }`,
  ];
  const statements: ((clause: string) => string)[] = [
    (clause) => `import a from "./a.json" with ${clause};`,
    (clause) => `import { a } from "node:child_process" with ${clause}; a("true");`,
    (clause) => `import "./a.ts" with ${clause};`,
    (clause) => `export { a } from "./a.json" with ${clause};`,
    (clause) => `export * from "./a.json" with ${clause};`,
    (clause) => `import("./a.json", { with: ${clause} });`,
    (clause) => `import(name, { with: ${clause} });`,
    (clause) => `import("./a.json", { assert: ${clause} });`,
  ];
  test.each(clauses)("%s is refused wherever it stands", (clause) => {
    for (const statement of statements) {
      const message =
        /^m\.[tj]s:1:\d+: cannot import .*with these attributes: only { type: "json" } is allowed/;
      expect(refusal(statement(clause))).toMatch(message);
      expect(refusal(statement(clause), "m.js")).toMatch(message);
    }
  });

  test.each([
    `import("./a.json", options);`,
    `import("./a.json", { with: attributes });`,
    `import("./a.json", { ["with"]: { type: "json" } });`,
    `import("./a.json", { with: { ["type"]: "json" } });`,
    `import("./a.json", { with: { type: type } });`,
    `import("./a.json", { with: { type: "json" }, ...more });`,
    `import("./a.json", { ...more });`,
    `import("./a.json", {});`,
    `import("./a.json", undefined);`,
    `import("./a.ts", { with: { type: "json" } });`,
    `import a from "./a" with { type: "json" };`,
    `import type { A } from "./a.ts" with { type: "text" };`,
  ])("%s is refused too", (text) => {
    expect(refusal(`\n  ${text}`)).toMatch(/^m\.ts:2:\d+: cannot import .*with these attributes/);
  });

  test("the old keyword 'assert' is refused in the same way, or does not parse", () => {
    expect(refusal(`import a from "./a.ts" assert { type: "macro" };`)).toContain("with these attributes");
    expect(refusal(`import a from "./a.ts" assert { type: "macro" };`, "m.js")).toStartWith(
      "m.js:1:24: Unexpected",
    );
  });

  test("a macro leaves no trace where a module is read, though Bun's transpiler would run it", async () => {
    await using mods = await ModsDir.create();
    const trace = join(mods.outside, "trace");
    const text = (command: string) =>
      `import { execSync } from "node:child_process" with { type: "macro" };
       export const execute = async () => String(execSync(${JSON.stringify(command)}));`;
    await mods.write("m.ts", text(`touch ${trace}`));
    await mods.write("n.ts", `export { execute } from "./m.ts";`);
    for (const mod of ["m.ts", "n.ts"]) {
      const outcome = await readModuleSource(mods.path, mod, withDefaultLimits()).catch(String);
      expect(outcome).toContain("m.ts:1:26: cannot import 'node:child_process' with these attributes");
    }
    expect(existsSync(trace)).toBe(false);
    const transpile = `new Bun.Transpiler({ loader: "ts" }).transformSync(await Bun.file(${JSON.stringify(mods.at("m.ts"))}).text())`;
    await run([process.execPath, "--eval", transpile]);
    expect(existsSync(trace)).toBe(true);
  });
});

test("a module's own process does not load the parser", async () => {
  const src = resolve(import.meta.dir, "../../src");
  const scanner = new Bun.Transpiler({ loader: "ts" });
  const reached = new Set([join(src, "host/child/entry.ts")]);
  const packages = new Set<string>();
  for (const path of reached)
    for (const { path: specifier } of scanner.scanImports(await Bun.file(path).text()))
      if (specifier.startsWith(".")) reached.add(resolve(dirname(path), specifier));
      else packages.add(specifier);
  expect([...reached]).toContain(join(src, "host/child/verified-loader.ts"));
  expect([...packages].filter((name) => name.includes("acorn"))).toEqual([]);
});
