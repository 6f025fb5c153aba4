import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import { type Manifest, readManifest } from "../../src/manifest/manifest.ts";

const execute = "export const execute = () => '';\n";
const read = (files: Record<string, string> | string): Manifest =>
  readManifest("m.ts", Object.entries(typeof files === "string" ? { "m.ts": files } : files));
function fault(files: Record<string, string> | string): string {
  try {
    read(files);
  } catch (error) {
    expect(error).toBeInstanceOf(VeripyError);
    expect((error as VeripyError).code).toBe("bad_module");
    return (error as VeripyError).message;
  }
  throw new Error("There is no fault.");
}

test("a module without a word of its own is described by its source, and may touch nothing", () => {
  expect(read(execute)).toEqual({
    description: undefined,
    input: undefined,
    limits: {},
    permissions: {},
    describedBy: "source",
    imports: [],
    exports: ["execute"],
  });
});

test("everything that a module says in literals is read", () => {
  const manifest = read(`
    import { readFile } from "node:fs/promises";
    import { spawn } from "child_process";
    import type { Server } from "node:net";
    export const description = \`Deploys.\`;
    export const input = { type: "object", properties: { env: { enum: ["a", 'b', null, true, -1.5] } } } as const satisfies object;
    export const limits = { execMs: 1_000, retain: 0, resident: true };
    export const permissions = { connect: [443, 80, 443], read: ["/var/log", "/etc"], write: [] } as const;
    export async function execute() {}`);
  expect(manifest).toEqual({
    description: "Deploys.",
    input: { type: "object", properties: { env: { enum: ["a", "b", null, true, -1.5] } } },
    limits: { execMs: 1000, retain: 0, resident: true },
    permissions: { read: ["/etc", "/var/log"], connect: [80, 443] },
    describedBy: "source",
    imports: ["node:child_process", "node:fs/promises"],
    exports: ["description", "execute", "input", "limits", "permissions"],
  });
});

test("a module may ask for everything", () => {
  expect(read(`export const permissions = "all"; ${execute}`).permissions).toBe("all");
});

describe("what only the running module knows", () => {
  for (const [what, text] of Object.entries({
    "a computed description": "export const description = 'a' + 'b';",
    "a template with an expression": "export const description = `on $" + "{process.platform}`;",
    "a variable that can change": "export let description = 'a';",
    "a schema with an identifier in it": "const type = 'object'; export const input = { type };",
    "a schema with a call in it": "export const input = { type: String('object') };",
    "a spread": "export const input = { ...{ type: 'object' } };",
    "a computed key": "export const input = { ['type']: 'object' };",
    "a part of a destructured value": "export const { description } = { description: 'a' };",
  })) {
    test(what, () => {
      const manifest = read(text + execute);
      expect(manifest.describedBy).toBe("server");
      expect([manifest.description, manifest.input]).toEqual([undefined, undefined]);
    });
  }
});

describe("exports are followed through the tree", () => {
  test("by name, renamed, by star, through a file that only passes on, and from JSON", () => {
    const manifest = read({
      "m.ts": `export { run as execute } from "./lib/run";
        export * from "./lib/about.ts";
        import { limits } from "./lib/pass.ts"; export { limits };
        export { default as input } from "./schema.json";`,
      "lib/run.ts": "export function run() {}",
      "lib/about.ts": `export const description = "From afar."; export * from "./more.js";`,
      "lib/more.js": `const may = { read: ["/srv"] }; export { may as permissions };`,
      "lib/pass.ts": `export { limits } from "./limits.ts";`,
      "lib/limits.ts": "export const limits = { execMs: 5 };",
      "schema.json": `{ "type": "object" }`,
    });
    expect(manifest).toMatchObject({
      description: "From afar.",
      input: { type: "object" },
      limits: { execMs: 5 },
      permissions: { read: ["/srv"] },
      describedBy: "source",
    });
  });

  test("also in a circle", () => {
    const files = {
      "m.ts": `export * from "./a.ts"; export * from "./b.ts"; ${execute}`,
      "a.ts": `export * from "./b.ts"; export const description = "a";`,
      "b.ts": `export * from "./a.ts";`,
    };
    expect(read(files).description).toBe("a");
  });

  test("what is exported for the type checker alone is not an export", () => {
    const text = `export type { x } from "./x.ts"; export type description = string; export declare const input: object;
      export interface limits {} ${execute}`;
    expect(read(text)).toMatchObject({ exports: ["execute"], describedBy: "source" });
  });
});

describe("a fault is named with its line and column:", () => {
  const cases: [what: string, files: Record<string, string> | string, message: string][] = [
    [
      "no execute",
      "export const description = 'x';\nexport const run = 1;",
      "m.ts exports no function 'execute'. It exports run.",
    ],
    [
      "execute that is no function",
      "export const execute = 'x';",
      "m.ts:1:14: 'execute' must be a function.",
    ],
    [
      "computed permissions",
      `${execute}export const permissions = { read: [process.cwd()] };`,
      "m.ts:2:37: 'permissions' must be a literal: a string, ",
    ],
    [
      "computed limits",
      `${execute}export const limits = { execMs: 5 * 60 };`,
      "m.ts:2:33: 'limits' must be a literal: a string, ",
    ],
    [
      "permissions that can change",
      `${execute}export let permissions = {};`,
      "m.ts:2:12: 'permissions' must be a constant with a literal, not a variable that can change.",
    ],
    [
      "an unknown permission",
      `${execute}export const permissions = { reed: [] };`,
      "m.ts:2:28: 'permissions' has the unknown key",
    ],
    [
      "another word than all",
      `${execute}export const permissions = "none";`,
      `m.ts:2:28: 'permissions' must be an object or "all".`,
    ],
    [
      "a relative path",
      `${execute}export const permissions = {\n read: ["/a", "b"] };`,
      "m.ts:3:15: 'permissions.read.1' must be an absolute path.",
    ],
    [
      "a path with dots",
      `${execute}export const permissions = { write: ["/a/../b"] };`,
      "m.ts:2:38: 'permissions.write.0' must not contain '..'.",
    ],
    [
      "a path with NUL",
      `${execute}export const permissions = { write: ["/a\\0b"] };`,
      "m.ts:2:38: 'permissions.write.0' must not contain a NUL character.",
    ],
    [
      "a relative program",
      `${execute}export const permissions = { run: ["./x"] };`,
      "m.ts:2:36: 'permissions.run.0' must be an absolute path, or a name to be looked up in PATH.",
    ],
    [
      "a port out of range",
      `${execute}export const permissions = { connect: [0] };`,
      "m.ts:2:40: 'permissions.connect.0' must be at least 1.",
    ],
    [
      "a port beyond",
      `${execute}export const permissions = { listen: [65536] };`,
      "m.ts:2:39: 'permissions.listen.0' must be at most 65535.",
    ],
    [
      "an unknown limit",
      `${execute}export const limits = { execTime: 1 };`,
      "m.ts:2:23: 'limits' has the unknown key",
    ],
    [
      "a limit below its least",
      `${execute}export const limits = { execMs: 0 };`,
      "m.ts:2:33: 'limits.execMs' must be at least 1.",
    ],
    [
      "__proto__",
      `${execute}export const input = { "__proto__": {} };`,
      "m.ts:2:24: 'input' has the key '__proto__', ",
    ],
    [
      "a key given twice",
      `${execute}export const input = { a: 1, a: 2 };`,
      "m.ts:2:30: 'input' has the key 'a' twice.",
    ],
    [
      "too many elements",
      `${execute}export const input = { a: [${"1,".repeat(150_000)}] };`,
      "Too much code in one file: ",
    ],
    [
      "too many elements in a JSON file that is exported",
      {
        "m.ts": `${execute}export { default as input } from "./x.json";`,
        "x.json": `{"a":[${"1,".repeat(150_000)}1]}`,
      },
      "x.json:1:100003: Too much code in one file: ",
    ],
    [
      "a schema that nests too deep",
      `${execute}export const input = ${"{a:".repeat(70)}1${"}".repeat(70)};`,
      "m.ts:2:22: 'input' nests deeper than 64 levels",
    ],
    [
      "a description that is no string",
      `${execute}export const description = 5;`,
      "m.ts:2:28: 'description' must be a string.",
    ],
    [
      "a description that is too long",
      `${execute}export const description = "${"x".repeat(4097)}";`,
      "'description' has 4097 characters; the limit is 4096.",
    ],
    [
      "a schema that is no object",
      `${execute}export const input = [];`,
      "m.ts:2:22: 'input' must be a JSON Schema object.",
    ],
    [
      "a name that the other file lacks",
      { "m.ts": `export { execute } from "./x.ts";`, "x.ts": "" },
      "m.ts:1:10: 'execute' comes from './x.ts', which exports no 'execute'.",
    ],
    [
      "a file that is missing",
      { "m.ts": `export { execute } from "./x.ts";` },
      "m.ts: cannot import './x.ts': x.ts is not among the module's files.",
    ],
    [
      "permissions from two files",
      {
        "m.ts": `${execute}export * from "./a.ts";\nexport * from "./b.ts";`,
        "a.ts": "export const permissions = {};",
        "b.ts": "export const permissions = { read: ['/'] };",
      },
      "m.ts:3:1: 'permissions' comes from more than one 'export *'.",
    ],
    ["no module at all", "export const execute = () => {", "m.ts:1:31: "],
  ];
  for (const [what, files, message] of cases) test(what, () => expect(fault(files)).toContain(message));
});

test("a JSON file that is only data may have any number of values", () => {
  const data = JSON.stringify(Array.from({ length: 150_000 }, () => 1));
  const text = `import data from "./x.json"; export { data }; export const execute = () => "";`;
  expect(read({ "m.ts": text, "x.json": data }).exports).toEqual(["data", "execute"]);
});

test("a macro import leaves no trace, and the module does not load", () => {
  const text = `import { execSync } from "node:child_process" with { type: "macro" };\nexport const description = execSync("touch trace");\n${execute}`;
  expect(fault(text)).toContain("m.ts:1:26: cannot import 'node:child_process' with these attributes");
});

const json = fc.jsonValue({ maxDepth: 4 }).filter((value) => !JSON.stringify(value).includes("__proto__"));

test("any JSON value that is written as a literal is read as itself", () => {
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.string().filter((key) => key !== "__proto__"),
        json,
      ),
      (input) => {
        const text = JSON.stringify(input);
        expect(JSON.stringify(read(`export const input = ${text};\n${execute}`).input)).toBe(
          JSON.stringify(JSON.parse(text)),
        );
      },
    ),
  );
});

test("a source that was changed anywhere gives a manifest or an error of its own, never anything else", () => {
  const text = `import { x } from "./x.ts"; export { y } from "./x.ts"; export * from "./x.ts";
    export const description = "d" as const; export const input = { type: "object", a: [1, -2, null] };
    export const limits = { execMs: 1 }; export const permissions = { read: ["/a"], connect: [1] };
    export async function* execute(args: string) { yield args; }`;
  const other = "export const x = 1; export const y = { z: `q` };";
  fc.assert(
    fc.property(
      fc.nat(text.length),
      fc.nat(12),
      fc.oneof(
        fc.string(),
        fc.constantFrom(
          "{",
          "}",
          "(",
          ")",
          "[",
          "]",
          "`",
          "${",
          "<",
          ">",
          "=>",
          "...",
          "\0",
          "\u2028",
          "export ",
        ),
      ),
      (at, length, inserted) => {
        const changed = text.slice(0, at) + inserted + text.slice(at + length);
        try {
          read({ "m.ts": changed, "x.ts": other });
        } catch (error) {
          if (!(error instanceof VeripyError) || error.code !== "bad_module") throw error;
        }
      },
    ),
    { numRuns: 500 },
  );
});
