import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isDeeperThan } from "../../src/base/json-depth.ts";

function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

describe("the depth of a JSON text", () => {
  test("is that of its value, whatever its strings hold", () => {
    const text = fc.oneof(fc.string({ unit: "grapheme" }), fc.stringMatching(/^[[\]{}"\\]{0,12}$/));
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof({ depthSize: "medium" }, text, fc.double(), tie("list"), tie("map")),
      list: fc.array(tie("value"), { maxLength: 3 }),
      map: fc.dictionary(text, tie("value"), { maxKeys: 3 }),
    }));
    fc.assert(
      fc.property(value, fc.boolean(), (value, isIndented) => {
        // Long enough that no text passes for its length alone.
        const json = JSON.stringify([value, "x".repeat(100)], undefined, isIndented ? 2 : undefined);
        const depth = depthOf([value]);
        for (let max = 0; max < depth + 2; max++) expect(isDeeperThan(json, max)).toBe(depth > max);
      }),
      { numRuns: 1_000 },
    );
  });

  test("passes at the limit and not one past it", () => {
    const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
    expect([isDeeperThan(nested(128), 128), isDeeperThan(nested(129), 128)]).toEqual([false, true]);
  });

  test.each([
    ["brackets that no one closes", "[".repeat(4_000_000)],
    ["a string that does not end", `"${"\\\\".repeat(2_000_000)}`],
    ["quotes behind backslashes", `"${'\\\\"'.repeat(1_000_000)}`],
    ["closing brackets", "]".repeat(4_000_000)],
  ])("of %s is found in one pass", (_, text) => {
    const begun = performance.now();
    isDeeperThan(text, 128);
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
});
