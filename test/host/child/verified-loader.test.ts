import { expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import { readModuleSource } from "../../../src/source/read-source.ts";
import { ModsDir } from "../../helpers/mods-dir.ts";
import { load } from "../../helpers/versions.ts";

// `sourceOf` (behind `load`) removes the files before the module is loaded: whatever works here works from the
// verified texts alone.

test("a module and its imports load from their texts, with nothing left on the disk", async () => {
  await using m = await load({
    "m.ts": `
      import { greet } from "./lib/greet.ts";
      import { twice } from "./lib/twice";
      export { description } from "./lib/greet.ts";
      import type { ModuleContext } from "veripy";
      export async function execute(args: string, _ctx: ModuleContext): Promise<string> {
        const { late } = await import("./lib/late.js");
        return twice(greet(args)) + late;
      }`,
    "lib/greet.ts": `export const description: string = "greets"; export const greet = (name: string) => "Hello, " + name;`,
    "lib/twice.ts": `export const twice = (text: string): string => text + text;`,
    "lib/late.js": `export const late = "!";`,
  });
  expect(m.version.desc).toBe("greets");
  expect(await m.result("you")).toBe("Hello, youHello, you!");
});

test("specifiers without an extension mean what they meant when the tree was hashed, literals stay as they are", async () => {
  await using m = await load({
    "m.ts": `
      import { value } from './lib/x';
      import data from "./lib/data";
      const text = "./lib/x"; // './lib/x'
      const template = \`from './lib/x' import "./lib/x"\`;
      export async function execute() {
        const again = await import("./lib/x");
        return JSON.stringify([value, again.value, require("./lib/x").value, data.n, text, template]);
      }`,
    "lib/x.ts": `export { value } from "../y";`,
    "y.js": `export const value = "y";`,
    "lib/data.json": `{"n": 7}`,
  });
  const template = `from './lib/x' import "./lib/x"`;
  expect(JSON.parse(await m.result())).toEqual(["y", "y", "y", 7, "./lib/x", template]);
});

test("circular imports, a byte-order mark and a #! line load", async () => {
  await using m = await load({
    "m.ts": `#!/usr/bin/env bun\nimport { even } from "./even.ts"; export const execute = (n: string) => String(even(+n));`,
    "even.ts": `\uFEFFimport { odd } from "./odd.ts"; export const even = (n: number): boolean => n === 0 || odd(n - 1);`,
    "odd.ts": `import { even } from "./even.ts"; export const odd = (n: number): boolean => n !== 0 && even(n - 1);`,
  });
  expect(await m.result("7")).toBe("false");
  expect(await m.result("8")).toBe("true");
});

test("JSON is the same value as a default, by name, dynamically and required", async () => {
  await using m = await load({
    "m.ts": `
      import all from "./d.json";
      import { x } from "./d.json";
      import list from "./list.json" with { type: "json" };
      export async function execute() {
        return JSON.stringify([all, x, list, (await import("./d.json")).default, require("./d.json")]);
      }`,
    "d.json": `{"x": [1, "é"]}`,
    "list.json": `\uFEFF[1, 2]`,
  });
  const value = { x: [1, "é"] };
  expect(JSON.parse(await m.result())).toEqual([value, value.x, [1, 2], value, value]);
});

test("import.meta and require.resolve speak of the module folder", async () => {
  const source = await sourceWithRoot();
  await using m = await load(source);
  const { dir, path, main, resolved } = JSON.parse(await m.result());
  expect({ dir, path, main }).toEqual({ dir: source.root, path: join(source.root, "m.ts"), main: false });
  expect(resolved).toBe(join(source.root, "b.ts"));

  async function sourceWithRoot() {
    await using mods = await ModsDir.create({
      "m.ts": `import "./b.ts"; export const execute = () => JSON.stringify({
        dir: import.meta.dir, path: import.meta.path, main: import.meta.main, resolved: require.resolve("./b.ts") });`,
      "b.ts": "export {}",
    });
    return await readModuleSource(mods.path, "m.ts", withDefaultLimits());
  }
});

test("a file that was not hashed is refused whatever the form of the import", async () => {
  await using outside = await ModsDir.create({
    "evil.ts": `throw new Error("it ran")`,
    "evil.json": "{}",
  });
  const at = (name: string) => JSON.stringify(outside.at(name));
  // The specifiers are computed: written out, they would have been refused when the module was read.
  const forms = {
    import: `import(${at("evil.ts")} + "")`,
    query: `import(${at("evil.ts")} + "?x=1")`,
    url: `import("file://" + ${at("evil.ts")})`,
    noExtension: `import(${at("evil")} + "")`,
    json: `import(${at("evil.json")} + "")`,
    withAttributes: `import(${at("evil.ts")} + "", { with: { type: "json" } })`,
    require: `require(${at("evil.ts")} + "")`,
    metaRequire: `import.meta.require(${at("evil.ts")} + "")`,
    createRequire: `createRequire(import.meta.url)(${at("evil.ts")})`,
    function: `new Function("path", "return import(path)")(${at("evil.ts")})`,
    relative: `import("./" + "evil.ts")`,
    bare: `import("left" + "-pad")`,
    worker: `new Worker(${at("evil.ts")})`,
    workerThread: `new (require("node:worker_threads").Worker)(${at("evil.ts")})`,
    workerThreadImport: `import("worker_threads").then(({ Worker }) => new Worker(${at("evil.ts")}))`,
  };
  await using m = await load(`
    import { createRequire } from "node:module";
    const forms = { ${Object.entries(forms).map(([name, code]) => `${name}: () => ${code}`)} };
    export async function execute(name: keyof typeof forms) {
      void createRequire;
      try { await forms[name](); return "loaded"; } catch (error) { return "refused: " + error; }
    }`);
  for (const name of Object.keys(forms)) {
    const answer = await m.result(name);
    expect(`${name}: ${answer}`).toMatch(/refused: .*(evil|left-pad|Worker)/s);
    expect(answer).not.toContain("it ran");
  }
});

test("a file of the folder that the module does not name is refused even while it is there", async () => {
  await using mods = await ModsDir.create({
    "m.ts": `export const execute = (name: string) => import("./" + name).then((m) => m.value);`,
    "unlisted.ts": `export const value = "unlisted";`,
  });
  const source = await readModuleSource(mods.path, "m.ts", withDefaultLimits());
  await using m = await load(source);
  expect(await m.failure("unlisted.ts")).toContain("unlisted.ts");
});

test("a file changed on the disk after it was hashed changes nothing, also for a host that starts later", async () => {
  await using mods = await ModsDir.create({
    "m.ts": `import { value } from "./b.ts"; export const execute = (a: string) => a === "exit" ? process.exit(0) : "1" + value;`,
    "b.ts": `export const value = "1";`,
  });
  const source = await readModuleSource(mods.path, "m.ts", withDefaultLimits());
  await mods.write("b.ts", `export const value = "2";`);
  await using m = await load(source);
  expect(await m.result()).toBe("11");
  await rm(mods.path, { recursive: true });
  expect(await m.failure("exit")).toStartWith("module_crashed");
  expect(await m.result()).toBe("11");
});

test("a computed import finds a file that the module also names", async () => {
  await using m = await load({
    "m.ts": `import "./b.ts"; export const execute = (name: string) => import("./" + name + ".ts").then((m) => m.value);`,
    "b.ts": `export const value = "b";`,
  });
  expect(await m.result("b")).toBe("b");
});
