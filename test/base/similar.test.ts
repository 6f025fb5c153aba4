import { expect, test } from "bun:test";
import { didYouMean, mostSimilar } from "../../src/base/similar.ts";

const keys = ["alice", "Alicia", "bob", "deploy-prod", "deploy-test", "f0".repeat(32)];
const modules = ["hello.ts", "help.ts", "db-a.ts", "db-b.ts", "sysinfo.ts", "a.ts"];

test.each([
  ["alcie", keys, ["alice"]],
  ["ALICE", keys, ["alice"]],
  ["alicie", keys, ["alice", "Alicia"]],
  ["bab", keys, ["bob"]],
  ["deploy", keys, ["deploy-prod", "deploy-test"]],
  ["f0f0f0", keys, ["f0".repeat(32)]],
  ["de", keys, []],
  ["zebra", keys, []],
  ["", keys, []],
  ["alice", [], []],
  ["hlelo", modules, ["hello.ts"]],
  ["hello.js", modules, ["hello.ts"]],
  ["db-c", modules, ["db-a.ts", "db-b.ts"]],
  ["sys", modules, ["sysinfo.ts"]],
  ["b", modules, []],
  ["disk", modules, []],
  // Two edits of a long word, and one more.
  ["deploy-tset1", keys, ["deploy-test"]],
  ["deploi-tset1", keys, []],
  // A third of the word, and more.
  ["lits", ["list"], ["list"]],
  ["ltis", ["list"], []],
])("what %j may have meant among %j is %j", (word, names, meant) => {
  expect(mostSimilar(word, names)).toEqual(meant);
});

test("no more than three names are suggested, each once", () => {
  const names = ["db-a", "db-a", "db-b", "db-c", "db-d"];
  expect(didYouMean("db-x", names)).toBe("Did you mean 'db-a' or 'db-b' or 'db-c'?");
  expect(didYouMean("zebra", names)).toBe("");
});

test("long names and long lists cost little", () => {
  const start = performance.now();
  const long = Array.from({ length: 100_000 }, (_, index) => `${"x".repeat(200)}${index}`);
  expect(mostSimilar(`y${"x".repeat(254)}`, long)).toEqual([]);
  const many = Array.from({ length: 100_000 }, (_, index) => `module-${index}`);
  expect(mostSimilar("nodule-99999xx", many)).toEqual([]);
  expect(performance.now() - start).toBeLessThan(2_000);
});
