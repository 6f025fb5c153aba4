import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type ArrayPlace, type JsonValue, parseStrictJson, type Span } from "../../src/base/strict-json.ts";

const parse = (text: string) => parseStrictJson(text, "f.json").value;

describe("strict JSON", () => {
  test("reads back whatever JSON.stringify writes", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 1, "\t"), (value, space) => {
        const text = JSON.stringify(value, null, space);
        expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  test("refuses what JSON.parse refuses, and duplicate keys, and nothing else", () => {
    const text = fc
      .array(
        fc.constantFrom(
          "[",
          "]",
          "{",
          "}",
          ",",
          ":",
          '"a"',
          '"b"',
          '"\\u00e4"',
          '"\\x"',
          "1",
          "-0.5e3",
          "01",
          "true",
          "nul",
          " ",
          "\n",
          "\t",
          '"',
          "\\",
          "\u00a0",
        ),
        { maxLength: 12 },
      )
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, (candidate) => {
        const expected = outcome(() => JSON.parse(candidate));
        const actual = outcome(() => parse(candidate));
        if (actual?.includes("duplicate key")) return;
        expect(actual === undefined).toBe(expected === undefined);
      }),
      { numRuns: 2_000 },
    );
  });

  test("says where a top-level array, or one that is a member of the top level, and its elements are", () => {
    const at = (text: string, { start, end }: Span) => JSON.parse(text.slice(start, end));
    const values = fc.array(fc.jsonValue({ maxDepth: 2 }));
    fc.assert(
      fc.property(values, fc.constantFrom(0, 2), fc.boolean(), (array, space, isWhole) => {
        const text = JSON.stringify(isWhole ? array : { before: [[1]], array, after: "x" }, null, space);
        const { value, places } = parseStrictJson(text, "f.json");
        const parsed = isWhole ? value : (value as { array: JsonValue }).array;
        const place = places.get(parsed) as ArrayPlace;
        const expected = JSON.parse(JSON.stringify(array));
        expect(at(text, place)).toEqual(expected);
        expect(place.elements.map((element) => at(text, element))).toEqual(expected);
      }),
    );
  });

  test("does not say where deeper arrays are", () => {
    const { value, places } = parseStrictJson('{"a": [[1]]}', "f.json");
    const { a } = value as { a: JsonValue[] };
    expect([places.has(a), places.has(a[0] as JsonValue)]).toEqual([true, false]);
  });

  test.each([
    ["", "line 1, column 1: expected a value"],
    ["[1", "line 1, column 3: expected ']'"],
    ["[\n  1,\n  2 3]", "line 3, column 5: expected ','"],
    ['{"a": 1,\n "a": 2}', 'line 2, column 2: duplicate key "a"'],
    ['{"a": 1, "\\u0061": 2}', "line 1, column 10: duplicate key"],
    ["[] []", "line 1, column 4: expected the end of the file"],
    ["[1,]", "line 1, column 4: expected a value"],
    ["{1: 1}", "line 1, column 2: expected a key in double quotes"],
    ["{a: 1}", 'line 1, column 2: unexpected "a"'],
    ["x".repeat(1_000), `line 1, column 1: unexpected "${"x".repeat(20)}"`],
    ['["a\nb"]', "line 1, column 2: this string does not end on its line"],
    ['["a\tb"]', "line 1, column 2: this string contains a control character"],
    ['["\\x"]', "line 1, column 2: this string has an invalid escape"],
    ['["\\u12"]', "line 1, column 2: this string has an invalid \\u escape"],
    ["[1e]", "line 1, column 2: this number is incomplete"],
    ["// a comment\n[]", "line 1, column 1: comments are not allowed"],
    ["[\n".repeat(33), "line 33, column 1: nested more than 32 levels deep"],
  ])("%j is refused with its line and column", (text, message) => {
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow("f.json: line ");
  });

  test("a leading byte-order mark is ignored, and the places still fit", () => {
    const text = "\ufeff[1]";
    const { value, places } = parseStrictJson(text, "f.json");
    expect(value).toEqual([1]);
    const { start, end } = places.get(value) as ArrayPlace;
    expect(text.slice(start, end)).toBe("[1]");
  });

  test("__proto__ is a key like any other", () => {
    expect(Object.keys(parse('{"__proto__": {"a": 1}}') as object)).toEqual(["__proto__"]);
  });
});

function outcome(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return String(error);
  }
}
