import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseStrictJson } from "../../src/identity/strict-json.ts";

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

  test("the spans of the elements are the elements", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue({ maxDepth: 2 })), fc.constantFrom(0, 2), (values, space) => {
        const text = JSON.stringify(values, null, space);
        const { elements } = parseStrictJson(text, "f.json");
        expect(elements.map(({ start, end }) => JSON.parse(text.slice(start, end)))).toEqual(
          JSON.parse(text),
        );
      }),
    );
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
