import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { sha256Hex } from "../../src/base/sha256.ts";
import { type Verdict, verifyModule } from "../../src/client/verifier.ts";
import type { ModuleReport, VerifyResponse } from "../../src/protocol/messages.ts";
import { treeSum } from "../../src/protocol/tree.ts";

const other = sha256Hex("something else");

/** What an honest server says about a module with the given files; the first is the module itself. */
function honest(contents: Record<string, string>): { report: ModuleReport; answer: VerifyResponse } {
  const all = Object.entries(contents).map(([path, content]) => ({ path, content, sum: sha256Hex(content) }));
  const [entry, ...files] = all;
  if (entry === undefined) throw new Error("a module has at least one file");
  const tree = treeSum(all);
  const { path: mod, sum, content } = entry;
  return { report: { mod, sum, tree, desc: "" }, answer: { mod, content, sum, tree, desc: "", files } };
}

const source = { "hello.ts": "export const x = 1;\n", "lib/a.ts": "a", "lib/b.json": "{}" };

function mismatchesOf(verdict: Verdict): string[] {
  return verdict.verified ? [] : verdict.mismatches.map(({ what }) => what);
}

describe("an honest module is verified", () => {
  test("with its files and its tree", () => {
    const { report, answer } = honest(source);
    const verdict = verifyModule(report, answer);
    expect(verdict).toMatchObject({ verified: true, mod: "hello.ts", tree: report.tree, isCallable: true });
    expect(verdict.verified && verdict.files.map(({ path }) => path)).toEqual(Object.keys(source));
  });

  test("from a server that knows no trees, but can't be called", () => {
    const { report, answer } = honest({ "hello.ts": "x" });
    const { tree, ...plainReport } = report;
    const { tree: _, files, ...plainAnswer } = answer;
    expect(verifyModule(plainReport, plainAnswer)).toMatchObject({ verified: true, tree, isCallable: false });
  });

  test("whatever text it is", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, text, (entry, imported) => {
        const { report, answer } = honest({ "m.ts": entry, "lib/i.ts": imported });
        expect(verifyModule(report, answer).verified).toBe(true);
      }),
    );
  });
});

describe("a lie is caught", () => {
  const cases: [string, (said: ReturnType<typeof honest>) => void, string][] = [
    [
      "other bytes of the module",
      ({ answer }) => void Object.assign(answer, { content: `${answer.content} ` }),
      "hello.ts",
    ],
    [
      "other bytes of an imported file",
      ({ answer }) => void Object.assign(answer.files?.[0] ?? {}, { content: "b" }),
      "lib/a.ts",
    ],
    ["another sum in the report", ({ report }) => void Object.assign(report, { sum: other }), "hello.ts"],
    ["another sum in the answer", ({ answer }) => void Object.assign(answer, { sum: other }), "hello.ts"],
    [
      "another sum of a file",
      ({ answer }) => void Object.assign(answer.files?.[1] ?? {}, { sum: other }),
      "lib/b.json",
    ],
    [
      "another tree in the report",
      ({ report }) => void Object.assign(report, { tree: other }),
      "the tree of hello.ts",
    ],
    [
      "another tree in the answer",
      ({ answer }) => void Object.assign(answer, { tree: other }),
      "the tree of hello.ts",
    ],
    ["a missing file", ({ answer }) => void answer.files?.pop(), "the tree of hello.ts"],
    ["all files missing", ({ answer }) => void delete answer.files, "the tree of hello.ts"],
    [
      "an added file",
      ({ answer }) => void answer.files?.push({ path: "c.ts", content: "", sum: sha256Hex("") }),
      "the tree of hello.ts",
    ],
    [
      "a file twice",
      ({ answer }) => void answer.files?.push({ path: "lib/a.ts", content: "a", sum: sha256Hex("a") }),
      "lib/a.ts",
    ],
    [
      "the module among its files",
      ({ answer }) => void answer.files?.push({ path: "hello.ts", content: "", sum: sha256Hex("") }),
      "hello.ts",
    ],
    [
      "a file under another name",
      ({ answer }) => void Object.assign(answer.files?.[0] ?? {}, { path: "lib/z.ts" }),
      "the tree of hello.ts",
    ],
    ["another module", ({ answer }) => void Object.assign(answer, { mod: "other.ts" }), "the module's name"],
    ["no tree in the answer", ({ answer }) => void delete answer.tree, "the tree of hello.ts"],
    ["no tree in the report", ({ report }) => void delete report.tree, "the tree of hello.ts"],
  ];
  test.each(cases)("%s", (_, tamper, what) => {
    const said = honest(source);
    expect(verifyModule(said.report, said.answer).verified).toBe(true);
    tamper(said);
    expect(mismatchesOf(verifyModule(said.report, said.answer))).toContain(what);
  });

  test("the verdict has both values in full", () => {
    const said = honest(source);
    said.answer.content = "changed";
    const verdict = verifyModule(said.report, said.answer);
    expect(!verdict.verified && verdict.mismatches[0]).toEqual({
      what: "hello.ts",
      by: "the report",
      expected: said.report.sum,
      actual: sha256Hex("changed"),
    });
  });

  test("text that is not valid Unicode, and would have the digest of other text", () => {
    const { report, answer } = honest({ "m.ts": "\uFFFD" });
    expect(sha256Hex("\uD800")).toBe(sha256Hex("\uFFFD"));
    expect(mismatchesOf(verifyModule(report, { ...answer, content: "\uD800" }))).toEqual(["m.ts"]);
  });
});

describe("what a module declares", () => {
  const declaring = `export const description = "Greets";
export const input = { type: "object", properties: { b: { type: "string" }, a: { type: "integer" } } };
export const permissions = { run: ["git"], connect: [443, 80] };
export const limits = { execMs: 1_000 };
export const execute = () => "";
`;
  const said = {
    desc: "Greets",
    input: { type: "object", properties: { b: { type: "string" }, a: { type: "integer" } } },
    permissions: { run: ["git"], connect: [80, 443] },
    describedBy: "source",
  } as const;

  function reporting(content: string, fields: Partial<ModuleReport>): ReturnType<typeof honest> {
    const { report, answer } = honest({ "m.ts": content });
    return { report: { ...report, ...fields }, answer: { ...answer, ...fields } };
  }

  test("is in the verdict, as the client reads it in the source", () => {
    const { report, answer } = reporting(declaring, said);
    expect(verifyModule(report, answer)).toMatchObject({
      verified: true,
      desc: "Greets",
      description: "Greets",
      input: said.input,
      permissions: said.permissions,
      limits: { execMs: 1_000 },
      describedBy: "source",
    });
  });

  const forged: [field: string, lie: Partial<ModuleReport>][] = [
    ["desc", { desc: "Greets you" }],
    ["desc", { desc: null }],
    ["input", { input: { type: "object" } }],
    ["input", { input: undefined }],
    ["permissions", { permissions: {} }],
    ["permissions", { permissions: "all" }],
    ["permissions", { permissions: { ...said.permissions, run: ["git", "sh"] } }],
    ["permissions", { permissions: { ...said.permissions, teleport: ["home"] } }],
    ["permissions", { permissions: undefined }],
    ["described_by", { describedBy: "server" }],
    ["described_by", { describedBy: undefined }],
  ];
  test.each(forged)("and a server that reports another %s (%j) is rejected", (field, lie) => {
    const { report, answer } = reporting(declaring, said);
    const what = `the ${field} of m.ts`;
    expect(mismatchesOf(verifyModule({ ...report, ...lie }, answer))).toEqual([what]);
    expect(mismatchesOf(verifyModule(report, { ...answer, ...lie }))).toEqual([what]);
    expect(mismatchesOf(verifyModule({ ...report, ...lie }, { ...answer, ...lie }))).toEqual([what, what]);
  });

  test("and both values are in the verdict", () => {
    const { report, answer } = reporting(declaring, said);
    const verdict = verifyModule({ ...report, permissions: {} }, answer);
    expect(!verdict.verified && verdict.mismatches).toEqual([
      {
        what: "the permissions of m.ts",
        by: "the report",
        expected: "{}",
        actual: '{"run":["git"],"connect":[80,443]}',
      },
    ]);
  });

  test("is looked for in the files that the module imports, too", () => {
    const { report, answer } = honest({
      "m.ts": 'export * from "./lib/a.ts";',
      "lib/a.ts": 'export const permissions = "all"; export const execute = () => "";',
    });
    const truth = { permissions: "all", describedBy: "source" } as const;
    const verdict = verifyModule({ ...report, ...truth }, { ...answer, ...truth });
    expect(verdict).toMatchObject({ verified: true, permissions: "all" });
    const lie = { permissions: {}, describedBy: "source" } as const;
    expect(verifyModule({ ...report, ...lie }, { ...answer, ...lie }).verified).toBe(false);
  });

  const computed = 'export const description = ["a"].join(); export const execute = () => "";';
  const byServer = { desc: "a", permissions: {}, describedBy: "server" } as const;

  test("is the server's word where the source computes it", () => {
    const { report, answer } = reporting(computed, byServer);
    expect(verifyModule(report, answer)).toMatchObject({
      verified: true,
      description: "a",
      describedBy: "server",
      permissions: {},
    });
  });

  test("cannot be claimed to be computed, or not to be", () => {
    const lie = { ...byServer, describedBy: "source" } as const;
    const { report, answer } = reporting(computed, lie);
    const what = "the described_by of m.ts";
    expect(mismatchesOf(verifyModule(report, answer))).toEqual([what, what]);
  });

  test.each([
    ["does not parse", "export const = 1"],
    [
      "computes its permissions",
      "export const permissions = { read: [x] }; export const execute = () => '';",
    ],
    ["has no execute", "export const x = 1;"],
  ])("is not believed of a source that %s", (_, content) => {
    const { report, answer } = reporting(content, { permissions: {}, describedBy: "source" });
    expect(mismatchesOf(verifyModule(report, answer))).toEqual(["the source of m.ts"]);
    // A server of the plain protocol says nothing of it.
    const plain = honest({ "m.ts": content });
    expect(verifyModule(plain.report, plain.answer)).toMatchObject({
      verified: true,
      permissions: undefined,
    });
  });

  test("is read even if the server of the plain protocol reports only a description", () => {
    const { report, answer } = reporting(declaring, { desc: "from elsewhere" });
    expect(verifyModule(report, answer)).toMatchObject({
      verified: true,
      desc: "from elsewhere",
      describedBy: "server",
      permissions: said.permissions,
      limits: { execMs: 1_000 },
    });
  });
});
