import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { printable } from "../../src/base/printable.ts";

const anyText = fc.string({ unit: "binary", maxLength: 60 });

describe("printable escapes", () => {
  test.each([
    ["the beginning of an escape sequence", "\x1b[31m", "\\u001b[31m"],
    ["the same as one character", "\x9b31m", "\\u009b31m"],
    ["a carriage return and a line feed", "a\r\nb", "a\\u000d\\u000ab"],
    ["a tab", "a\tb", "a\\u0009b"],
    ["DEL and NUL", "\x7f\0", "\\u007f\\u0000"],
    ["the other line breaks of Unicode", "\x85\u2028\u2029", "\\u0085\\u2028\\u2029"],
    [
      "controls of the direction",
      "\u202a\u202e\u2066\u2069\u200e\u200f\u061c",
      "\\u202a\\u202e\\u2066\\u2069\\u200e\\u200f\\u061c",
    ],
    ["what has no width", "\u200b\u200d\u2060\ufeff\u00ad", "\\u200b\\u200d\\u2060\\ufeff\\u00ad"],
    ["what is shown as nothing", "\u034f\u115f\u3164\u180b", "\\u034f\\u115f\\u3164\\u180b"],
    ["invisible letters, in two escapes each", "\u{e0041}", "\\udb40\\udc41"],
    ["half a surrogate pair", "\ud83d \udc0d", "\\ud83d \\udc0d"],
  ])("%s", (_, text, expected) => expect(printable(text)).toBe(expected));

  test("every control and format character of Unicode, and every lone surrogate", () => {
    const left: string[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      const character = String.fromCodePoint(code);
      if (!/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(character)) continue;
      if (!/^(\\u[0-9a-f]{4}){1,2}$/.test(printable(character))) left.push(code.toString(16));
    }
    expect(left).toEqual([]);
  });
});

test.each([["plain ASCII ~"], ["\\u001b"], ["naïve, 日本語, עברית, 🐍 and ❤️"], ["e\u0301"], ["│ ─ ✓"], [""]])(
  "%j is left as it is",
  (text) => expect(printable(text)).toBe(text),
);

test("line feeds and tabs stay where they lay out the text, and nothing else does", () => {
  expect(printable("a\n\tb\r\x1b\n", "\n\t")).toBe("a\n\tb\\u000d\\u001b\n");
});

test("escaping twice changes nothing more", () => {
  fc.assert(fc.property(anyText, (text) => printable(printable(text)) === printable(text)));
});

test("JSON that was escaped is the same JSON", () => {
  const same = (value: unknown) => expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
  fc.assert(fc.property(fc.dictionary(anyText, fc.array(anyText)), same));
  same({ text: "\ud800 \u{e0041} \x9b \u202e \u2028" });
});
