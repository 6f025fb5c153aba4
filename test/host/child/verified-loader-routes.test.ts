import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { VeripyError } from "../../../src/base/errors.ts";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import type { HostOptions } from "../../../src/host/parent/module-host.ts";
import { readModuleSource } from "../../../src/source/read-source.ts";
import { binaries } from "../../helpers/binaries.ts";
import { ModsDir } from "../../helpers/mods-dir.ts";
import { run } from "../../helpers/processes.ts";
import { type LoadedVersion, load } from "../../helpers/versions.ts";
import { evil, leadingRoutes, links, others, paths, program, unhashed } from "./loader-routes.ts";

type Told = [end: "refused" | "nothing" | "b" | "loaded" | "ran", route: string, specifier: string][];

let mods: ModsDir;
beforeAll(async () => {
  mods = await ModsDir.create({
    "m.ts": program("ts"),
    "j.js": program("js"),
    "b.ts": `export const b = "b";`,
    ...unhashed,
  });
  for (const [path, target] of Object.entries(links)) await mods.link(target, path);
});
afterAll(() => mods[Symbol.asyncDispose]());

/** A few specifiers at a time, since a call has a deadline. */
async function tell(m: LoadedVersion, specifiers: readonly string[]): Promise<Told> {
  const told: Told = [];
  for (let at = 0; at < specifiers.length; at += 5)
    told.push(...(JSON.parse(await m.result(JSON.stringify(specifiers.slice(at, at + 5)))) as Told));
  return told;
}

const start = async (mod: string, hosts: Partial<HostOptions>): Promise<LoadedVersion> =>
  load(await readModuleSource(mods.path, mod, withDefaultLimits()), { hosts });

const forms: Record<string, (path: string) => string> = {
  "a relative path": (path) => `./${path}`,
  "an absolute path": (path) => join(mods.path, path),
  "a file URL": (path) => `${pathToFileURL(mods.path).href}/${path}`,
  "a path that begins with a name": (path) => `x/../${path}`,
};

// Without the sandbox, which keeps the files on disk away from every route.
const sandbox = "off" as const;

describe.each([
  ["from the sources", async () => ({ sandbox })],
  ["in the executable", async () => ({ sandbox, command: [(await binaries()).server] })],
])("%s", (_, hosts) => {
  describe.each(["m.ts", "j.js"])("%s", (mod) => {
    test.each(Object.entries(forms))(
      "%s of a file that was not hashed is refused on every route",
      async (_, form) => {
        await using m = await start(mod, await hosts());
        const told = await tell(m, paths.map(form));
        expect(told.length).toBeGreaterThan(2_000);
        expect(told.filter(([end]) => end !== "refused" && end !== "nothing")).toEqual([]);
      },
    );

    test("a specifier that is not a path is refused on every route", async () => {
      await using m = await start(mod, await hosts());
      const told = await tell(m, others);
      expect(told.filter(([end]) => end !== "refused" && end !== "nothing")).toEqual([]);
    });

    test("hashed files and built-ins load on every route that leads to a file", async () => {
      await using m = await start(mod, await hosts());
      for (const specifier of ["./b.ts", "./b", mods.at("b.ts"), mods.at("b"), "./x/../b.ts"]) {
        const told = await tell(m, [specifier]);
        const came = told.filter(([end]) => end === "b").map(([, route]) => route);
        expect(came).toEqual(expect.arrayContaining(leadingRoutes));
      }
      for (const builtin of ["node:os", "os", "bun:sqlite", "bun"]) {
        const told = await tell(m, [builtin]);
        const came = told.filter(([end]) => end === "loaded").map(([, route]) => route);
        expect(came).toEqual(expect.arrayContaining(leadingRoutes));
      }
    });
  });

  test("a specifier without an extension means the hashed file, whatever has been put beside it since", async () => {
    await using other = await ModsDir.create({
      "m.ts": `import { b } from "./lib/b"; export { b as again } from "./lib/b"; export * as all from "./lib/b";
        import required = require("./lib/b"); import "./lib/side";
        export const execute = async () => [b, required.b, require("./lib/b").b, (await import("./lib/b")).b, globalThis.side].join();`,
      "lib/b.ts": `export const b = "b";`,
      "lib/side.js": `globalThis.side = "side";`,
    });
    const source = await readModuleSource(other.path, "m.ts", withDefaultLimits());
    for (const name of ["lib/b", "lib/side", "lib/b.ts", "lib/b.js"]) await other.write(name, evil);
    await using m = await load(source, { hosts: await hosts() });
    expect(await m.result()).toBe("b,b,b,b,side");
  });

  test("what a tsconfig.json, package.json or node_modules beside the files says changes nothing", async () => {
    await using other = await ModsDir.create({
      "m.ts": `import { a } from "./lib/a.ts"; import os from "node:os"; import { sep } from "path";
        export const execute = async () =>
          [a, (await import("./lib/" + "a")).a, require("./lib/a").a, typeof os.hostname, sep, globalThis.ran].join();`,
      "lib/a.ts": `export const a = "a";`,
    });
    const source = await readModuleSource(other.path, "m.ts", withDefaultLimits());
    const names = [
      "*",
      "/*",
      "./lib/a",
      "./lib/a.ts",
      "node:os",
      "os",
      "path",
      "veripy:*",
      other.at("lib/a.ts"),
    ];
    const traps: Record<string, unknown> = {
      "tsconfig.json": {
        compilerOptions: { baseUrl: ".", paths: Object.fromEntries(names.map((name) => [name, ["./evil"]])) },
      },
      "package.json": { main: "./evil", browser: Object.fromEntries(names.map((name) => [name, "./evil"])) },
      "node_modules/path/package.json": { main: "../../evil" },
    };
    for (const folder of ["", "lib/"]) {
      await other.write(`${folder}evil`, evil);
      for (const [path, trap] of Object.entries(traps))
        await other.write(folder + path, JSON.stringify(trap));
    }
    await using m = await load(source, { hosts: await hosts() });
    expect(await m.result()).toBe("a,a,a,function,/,");
  });
});

test("without the loader, most routes run the same file", async () => {
  const code = `const m = await import(${JSON.stringify(mods.at("m.ts"))}); console.log(await m.execute(process.argv[1]));`;
  const plain = [process.execPath, "--no-install", "--eval", code, JSON.stringify([mods.at("x/noext")])];
  const told = JSON.parse((await run(plain, { cwd: mods.path })).stdout) as Told;
  const ran = told.filter(([end]) => end === "ran").map(([, route]) => route);
  expect(ran).toEqual(expect.arrayContaining(leadingRoutes.filter((route) => route !== "import() as JSON")));
  expect(ran).toEqual(
    expect.arrayContaining(["Module._extensions", "Bun.ModuleGraph", "Bun.plugin.clearAll"]),
  );
});

test.each([
  ["import", (s: string) => `import ${s};`],
  ["import of a name", (s: string) => `import { x } from ${s}; console.log(x);`],
  ["re-export", (s: string) => `export { x } from ${s};`],
  ["re-export of all", (s: string) => `export * from ${s};`],
  ["import()", (s: string) => `import(${s});`],
  ["import() of a template", (s: string) => `import(${s.replaceAll('"', "`")});`],
  ["require", (s: string) => `require(${s});`],
  ["import = require", (s: string) => `import x = require(${s});`],
])("a literal is refused when the module is read, or its file is hashed: %s", async (_, statement) => {
  const readable = new Set<string>();
  for (const literal of [...paths.flatMap((path) => [`./${path}`, mods.at(path)]), ...others]) {
    await mods.write("literal.ts", statement(JSON.stringify(literal)));
    const outcome = await readModuleSource(mods.path, "literal.ts", withDefaultLimits()).catch(
      (error: VeripyError) => error,
    );
    if (outcome instanceof VeripyError) expect(outcome.code).toBe("bad_module");
    else for (const { path } of outcome.files) readable.add(`${literal} → ${path}`);
  }
  expect([...readable].sort()).toEqual([
    "./x/data.json → x/data.json",
    "./x/ev → x/ev.ts",
    "./x/ev.js → x/ev.js",
    "./x/ev.ts → x/ev.ts",
    "./x/folder/index.ts → x/folder/index.ts",
    "./x/link.ts → x/link.ts",
    "./x/node_modules/bare/index.js → x/node_modules/bare/index.js",
    "./x/package/package.json → x/package/package.json",
  ]);
});

test("an import() in text that a module evaluates is refused only if Bun asks its plugins about it", async () => {
  await using m =
    await load(`export const permissions = "all"; export const execute = (path) => new Function("path", "return import(path)")(path)
    .then(() => "loaded", (error) => error.message);`);
  expect(await m.result(mods.at("x/ev.ts"))).toContain("cannot import");
  // As SECURITY.md says. Once this is refused too, that sentence can go.
  expect(await m.result(mods.at("x/noext"))).toBe("it ran");
});
