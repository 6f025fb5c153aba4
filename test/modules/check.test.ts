import { expect, test } from "bun:test";
import { withDefaultLimits } from "../../src/base/limits.ts";
import { checkModule } from "../../src/modules/check.ts";
import { ModsDir } from "../helpers/mods-dir.ts";

const options = { limits: withDefaultLimits() };

test("a module that loads is described, with all its files", async () => {
  await using mods = await ModsDir.create({
    "m.ts": `import "./lib/a.ts"; export const description = "fine"; export const execute = () => "";`,
    "lib/a.ts": "export {};",
  });
  expect(await checkModule(mods.path, "m.ts", options)).toMatchObject({
    mod: "m.ts",
    ok: true,
    description: "fine",
    input: undefined,
    limits: {},
    permissions: {},
    describedBy: "source",
    files: [{ path: "m.ts" }, { path: "lib/a.ts", sum: await mods.sha256sum("lib/a.ts") }],
    warnings: [],
  });
});

const problems: Record<string, [text: string | undefined, problem: RegExp]> = {
  "does not exist": [undefined, /m\.ts/],
  "cannot be parsed": ["export const = 1", /m\.ts/],
  "imports what is not there": [`import "./gone.ts"; export const execute = () => "";`, /gone\.ts/],
  "throws while it loads": [
    `throw new Error("no"); export const execute = () => "";`,
    /^m\.ts does not load: no/,
  ],
  "is a generator that is not async": [
    "export function* execute() { yield ''; }",
    /^m\.ts must export 'execute' as an async generator/,
  ],
  "has an input that is no schema": [
    `export const input = { type: "whole" }; export const execute = () => "";`,
    /^m\.ts exports an invalid JSON Schema as 'input'/,
  ],
  "has a limit that is none": [
    `export const limits = { execTime: 1 }; export const execute = () => "";`,
    /^m\.ts:1:23: 'limits' has the unknown key 'execTime'/,
  ],
  "exports nothing": ["export {};", /^m\.ts exports no function 'execute'/],
};

for (const [what, [text, problem]] of Object.entries(problems)) {
  test(`a module that ${what} has that as its problem`, async () => {
    await using mods = await ModsDir.create(text === undefined ? {} : { "m.ts": text });
    const checked = await checkModule(mods.path, "m.ts", options);
    expect(checked).toMatchObject({ mod: "m.ts", ok: false, problem: expect.stringMatching(problem) });
  });
}

test.skipIf(process.platform !== "linux")(
  "two modules whose names differ only in case are a problem each",
  async () => {
    const text = `export const execute = () => "";`;
    await using mods = await ModsDir.create({ "m.ts": text, "M.ts": text });
    for (const [mod, other] of [
      ["m.ts", "M.ts"],
      ["M.ts", "m.ts"],
    ] as const) {
      const problem = expect.stringContaining(other);
      expect(await checkModule(mods.path, mod, options)).toMatchObject({ mod, ok: false, problem });
    }
  },
);
