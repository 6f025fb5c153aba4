import { describe, expect, test } from "bun:test";
import type { VeripyError } from "../../src/base/errors.ts";
import { sha256Hex } from "../../src/base/sha256.ts";
import { KnownModules, targetOf } from "../../src/client/known-modules.ts";
import { type Verdict, VerificationError, verifyModule } from "../../src/client/verifier.ts";
import { type ModuleReport, maxReports, type VerifyResponse } from "../../src/protocol/messages.ts";
import { treeSum } from "../../src/protocol/tree.ts";

function served(
  mod: string,
  content = mod,
): { report: ModuleReport; answer: VerifyResponse; verdict: Verdict } {
  const sum = sha256Hex(content);
  const report = { mod, sum, tree: treeSum([{ path: mod, sum }]) };
  const answer = { ...report, content, files: [] };
  return { report, answer, verdict: verifyModule(report, answer) };
}

function known(...mods: string[]): KnownModules {
  const modules = new KnownModules();
  modules.replace(mods.map((mod) => served(mod).report));
  return modules;
}

describe("reports", () => {
  test("of a sync replace all others, and a broadcast changes one", () => {
    const modules = known("a.ts", "b.ts");
    modules.replace([served("b.ts").report]);
    expect([...modules.reports.keys()]).toEqual(["b.ts"]);
    modules.update({ kind: "modload", mod: "c.ts", report: served("c.ts").report });
    modules.update({ kind: "modreload", mod: "b.ts", report: served("b.ts", "new").report });
    expect([...modules.reports.values()]).toEqual([served("b.ts", "new").report, served("c.ts").report]);
    modules.update({ kind: "modunload", mod: "b.ts" });
    expect([...modules.reports.keys()]).toEqual(["c.ts"]);
  });

  test("that a caller holds are not changed by the next sync", () => {
    const modules = known("a.ts");
    const before = modules.reports;
    modules.replace([]);
    expect([before.size, modules.reports.size]).toEqual([1, 0]);
  });

  test("are marked when they came in a broadcast", () => {
    const modules = known("a.ts", "b.ts");
    modules.update({ kind: "modreload", mod: "a.ts", report: served("a.ts").report });
    expect([modules.isBroadcast("a.ts"), modules.isBroadcast("b.ts")]).toEqual([true, false]);
    modules.replace([served("a.ts").report]);
    expect(modules.isBroadcast("a.ts")).toBe(false);
  });

  test("are kept up to the limit; then a known module may still change, but another is refused", () => {
    const modules = new KnownModules();
    const { report } = served("0.ts");
    modules.replace(Array.from({ length: maxReports }, (_, index) => ({ ...report, mod: `${index}.ts` })));
    modules.update({ kind: "modreload", mod: "7.ts", report: { ...report, mod: "7.ts" } });
    expect(() =>
      modules.update({ kind: "modload", mod: "x.ts", report: { ...report, mod: "x.ts" } }),
    ).toThrow("more than 100000 modules");
    expect(modules.reports.size).toBe(maxReports);
  });

  test("complete a name by its extension, .ts before .js", () => {
    const modules = known("a.ts", "a.js", "b.js", "c");
    expect(["a", "b", "c", "d", "a.js"].map((mod) => modules.nameOf(mod))).toEqual([
      "a.ts",
      "b.js",
      "c",
      "d",
      "a.js",
    ]);
  });
});

describe("a verdict", () => {
  test("is current until the module is reported with other content", () => {
    const modules = known("a.ts");
    const { report, verdict } = served("a.ts");
    modules.judged(report, verdict);
    expect(modules.current("a.ts")?.verdict).toBe(verdict);
    modules.update({ kind: "modreload", mod: "a.ts", report: { ...report } });
    expect(modules.current("a.ts")?.verdict).toBe(verdict);
    for (const said of [
      { desc: "x" },
      { input: {} },
      { permissions: {} },
      { describedBy: "source" },
    ] as const) {
      modules.update({ kind: "modreload", mod: "a.ts", report: { ...report, ...said } });
      expect(modules.current("a.ts")).toBeUndefined();
    }
    modules.update({ kind: "modreload", mod: "a.ts", report });
    modules.update({ kind: "modreload", mod: "a.ts", report: served("a.ts", "new").report });
    expect(modules.current("a.ts")).toBeUndefined();
    expect(modules.latest("a.ts")?.verdict).toBe(verdict);
  });

  test("is forgotten with its module, by a broadcast and by a sync", () => {
    for (const remove of [
      (modules: KnownModules) => modules.update({ kind: "modunload", mod: "a.ts" }),
      (modules: KnownModules) => modules.replace([]),
    ]) {
      const modules = known("a.ts");
      modules.judged(served("a.ts").report, served("a.ts").verdict);
      remove(modules);
      expect(modules.latest("a.ts")).toBeUndefined();
    }
  });

  test("has a target to call only if the module was verified, at a server that runs modules", () => {
    const modules = known("a.ts");
    const { report, answer, verdict } = served("a.ts");
    modules.judged(report, verdict);
    expect(modules.current("a.ts")?.target).toMatchObject({
      mod: "a.ts",
      tree: report.tree,
      sum: report.sum,
    });

    const forged = verifyModule(report, { ...answer, content: "forged" });
    modules.judged(report, forged);
    expect(modules.current("a.ts")?.target).toBeUndefined();
    expect(() => targetOf(forged)).toThrow(VerificationError);

    const plain = verifyModule(
      { mod: "a.ts", sum: report.sum },
      { mod: "a.ts", sum: report.sum, content: "a.ts" },
    );
    modules.judged(report, plain);
    expect(modules.current("a.ts")?.target).toBeUndefined();
    expect(() => targetOf(plain)).toThrow(expect.objectContaining({ code: "unsupported" }) as VeripyError);
  });
});
