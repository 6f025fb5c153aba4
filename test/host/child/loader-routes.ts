/** It says that it ran before it fails, so that a swallowed error hides nothing. */
export const evil = `globalThis.ran = true; throw new Error("it ran");`;

/** Files that no module imports, one for each way in which a path is looked up. They stay on the disk. */
export const unhashed: Record<string, string> = {
  "x/noext": evil,
  "x/ev.ts": evil,
  "x/ev.js": evil,
  "x/ev.mjs": evil,
  "x/ev.cjs": evil,
  "x/ev.1": evil,
  "x/ev.": evil,
  "x/ev._x": evil,
  "x/ev.xyz": evil,
  "x/v1.2/noext": evil,
  "x/folder/index.ts": evil,
  "x/package/package.json": `{ "main": "./main" }`,
  "x/package/main": evil,
  "x/node_modules/bare/index.js": evil,
  "x/data.json": "{}",
  "x/data.toml": "a = 1",
  "x/page.html": "<script src='./ev.js'></script>",
  "x/é": evil,
  "x/sp ace": evil,
};
export const links: Record<string, string> = {
  "x/link": "noext",
  "x/link.ts": "noext",
  "x/linked-folder": "folder",
};

/** Paths below the module folder. Bun asks its plugins about some of them only. */
export const paths = [
  ...Object.keys(unhashed),
  ...Object.keys(links),
  ...["x/ev", "x/folder", "x/folder/", "x/package", "x/package/", "x/v1.2/../noext", "x//noext", "x/."],
  ...["noext", "ev.ts", "ev.js", "data.json", "data.toml", "page.html"].flatMap((name) =>
    ["?a", "?.1", "?a=.1", "#a", "#.1", "/"].map((end) => `x/${name}${end}`),
  ),
];
/** Specifiers that are not paths. */
export const others = [
  "bare",
  "left-pad",
  `data:text/javascript,${evil}`,
  "veripy:./x/noext",
  "veripy:veripy:./x/noext",
  "file:",
  "http://127.0.0.1:1/x.js",
  "node:nope",
  "macro:./x/ev.ts",
  "",
];

/** The source of functions that load a computed specifier, each in its own way. */
const routes = `{
  "import()": (s) => import(s),
  "import() of a template": (s) => import(\`\${s}\`),
  "import() of a concatenation": (s) => import("" + s),
  "import() of a condition": (s) => import(s === undefined ? "./b.ts" : s),
  "import() of a nested import()": async (s) => import((await import("./b.ts")).b && s),
  "import() as JSON": (s) => import(s, { with: { type: "json" } }),
  "import() of a blob": (s) => import(URL.createObjectURL(new Blob([${JSON.stringify(evil)} + s]))),
  "require": (s) => require(s),
  "require of require.resolve": (s) => require(require.resolve(s)),
  "import.meta.require": (s) => import.meta.require(s),
  "import() of import.meta.resolve": (s) => import(import.meta.resolve(s)),
  "import() of Bun.resolveSync": (s) => import(Bun.resolveSync(s, import.meta.dir)),
  "import() of Bun.resolve": async (s) => import(await Bun.resolve(s, import.meta.dir)),
  "require of Bun.resolveSync": (s) => require(Bun.resolveSync(s, import.meta.dir)),
  "createRequire(import.meta.url)": (s) => createRequire(import.meta.url)(s),
  "createRequire of a path": (s) => createRequire(import.meta.dir + "/nowhere.js")(s),
  "createRequire of a folder": (s) => createRequire(import.meta.dir + "/")(s),
  "createRequire of the root": (s) => createRequire("/x.js")(s),
  "createRequire of getBuiltinModule": (s) => process.getBuiltinModule("node:module").createRequire(import.meta.url)(s),
  "createRequire().resolve": (s) => import(createRequire(import.meta.url).resolve(s)),
  "Module._load": (s) => Module._load(s),
  "Module._load for a parent": (s) => Module._load(s, Object.assign(new Module(import.meta.path), { filename: import.meta.path }), false),
  "Module.prototype.require": (s) => Module.prototype.require(s),
  "Module.prototype.require of a module": (s) => Module.prototype.require.call(Object.assign(new Module(import.meta.path), { filename: import.meta.path }), s),
  "module.constructor._load": (s) => module.constructor._load(s, module, false),
  "module.require": (s) => module.require(s),
  "require.main": (s) => require.main.require(s),
  "process.mainModule": (s) => process.mainModule.require(s),
  "Module.runMain": (s) => Module.runMain(s),
  "Module._extensions": (s) => Module._extensions[".js"](new Module(s), s),
  "require.extensions": (s) => require.extensions[".ts"](new Module(s), s),
  "an assigned Module._resolveFilename": (s) => { Module._resolveFilename = (path) => path; return require(s); },
  "Bun.plugin.clearAll": (s) => { Bun.plugin.clearAll(); return import(s); },
  "Bun.ModuleGraph": (s) => new Bun.ModuleGraph().import(s),
  "ShadowRealm": (s) => new ShadowRealm().importValue(s, "x"),
  "Worker": (s) => new Worker(s),
  "a required Worker": (s) => new (require("node:worker_" + "threads").Worker)(s),
  "an imported Worker": async (s) => new (await import("worker_" + "threads")).Worker(s),
  "a Worker of getBuiltinModule": (s) => new (process.getBuiltinModule("worker_" + "threads").Worker)(s),
}`;

/** The routes on which a hashed file loads. */
export const leadingRoutes = [
  "import()",
  "import() of a template",
  "import() of a concatenation",
  "import() of a condition",
  "import() of a nested import()",
  "import() as JSON",
  "require",
  "require of require.resolve",
  "import.meta.require",
  "createRequire(import.meta.url)",
  "createRequire of a path",
  "createRequire of a folder",
  "createRequire of getBuiltinModule",
  "createRequire().resolve",
  "Module.prototype.require of a module",
];

/** A module that tries every route with every specifier of a list and returns how each attempt ended. */
export const program = (extension: "ts" | "js") => `
import { createRequire, Module } from "node:module";
const routes${extension === "ts" ? ": Record<string, (s: string) => unknown>" : ""} = ${routes};
export async function execute(args${extension === "ts" ? ": string" : ""}) {
  const told = [];
  for (const specifier of JSON.parse(args)) {
    for (const name in routes) {
      globalThis.ran = false;
      let end;
      try {
        const given = await routes[name](specifier);
        end = given === undefined ? "nothing" : given.b === "b" ? "b" : "loaded";
      } catch (error) {
        end = error.message === "it ran" ? "ran" : "refused";
      }
      // Some routes return before the file has run.
      await new Promise((resolve) => setImmediate(resolve));
      told.push([globalThis.ran ? "ran" : end, name, specifier]);
    }
  }
  return JSON.stringify(told);
}
export { b } from "./b.ts";`;
