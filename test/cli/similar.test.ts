import { expect, test } from "bun:test";
import { didYouMean } from "../../src/cli/similar.ts";

test.each([
  ["lits", ["list", "verify"], " Did you mean 'list'?"],
  ["hlelo", ["hello.ts"], " Did you mean 'hello.ts'?"],
  ["hello.js", ["hello.ts", "help.ts"], " Did you mean 'hello.ts'?"],
  ["db-c", ["db-a.ts", "db-b.ts", "x.ts"], " Did you mean 'db-a.ts' or 'db-b.ts'?"],
  ["a", ["b", "c.ts"], ""],
  ["disk", ["sysinfo.ts"], ""],
  ["", ["a.ts"], ""],
  ["hello", [], ""],
])("%p among %p:%p", (word, names, suggestion) => {
  expect(didYouMean(word, names)).toBe(suggestion);
});

test("suggestions take little time for long names and long lists", () => {
  const names = Array.from({ length: 100_000 }, (_, index) => `${"x".repeat(200)}${index}`);
  const start = performance.now();
  expect(didYouMean("x".repeat(255), names)).toBe("");
  expect(
    didYouMean(
      "nodule-99999xx",
      Array.from({ length: 100_000 }, (_, n) => `module-${n}`),
    ),
  ).toBe("");
  expect(performance.now() - start).toBeLessThan(2_000);
});
