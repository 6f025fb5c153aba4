import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type ArrayPlace, type JsonValue, parseStrictJson, type Span } from "../../src/base/strict-json.ts";

const parse = (text: string) => parseStrictJson(text, "f.json").value;

describe("strict JSON", () => {
  test("whatever JSON.stringify writes is read back as it was", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 1, "\t"), (value, space) => {
        const text = JSON.stringify(value, null, space);
        expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  test("what JSON.parse refuses is refused, and nothing else but equal keys", () => {
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
        if (actual?.includes("is there twice")) return;
        expect(actual === undefined).toBe(expected === undefined);
      }),
      { numRuns: 2_000 },
    );
  });

  test("an array that is the whole or a member of it has its place, and so have its elements", () => {
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

  test("arrays that stand deeper have none", () => {
    const { value, places } = parseStrictJson('{"a": [[1]]}', "f.json");
    const { a } = value as { a: JsonValue[] };
    expect([places.has(a), places.has(a[0] as JsonValue)]).toEqual([true, false]);
  });

  test.each([
    ["", "line 1, column 1: the text ends too early"],
    ["[\n  1,\n  2 3]", "line 3, column 5: expected ',' or ']'"],
    ['{"a": 1,\n "a": 2}', 'line 2, column 2: the key "a" is there twice'],
    ['{"a": 1, "\\u0061": 2}', "is there twice"],
    ["[] []", "line 1, column 4: there is more after the end"],
    ["[1,]", "column 4"],
    ["{a: 1}", "expected a key in double quotes"],
    ['["a\nb"]', "raw control character"],
    ["// a comment\n[]", 'unexpected "/"'],
    ["[".repeat(33), "nested more than 32 deep"],
  ])("%j is refused with its place", (text, message) => {
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow("f.json: line ");
  });

  test("a byte-order mark in front is no error", () => {
    expect(parse("\ufeff[1]")).toEqual([1]);
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
