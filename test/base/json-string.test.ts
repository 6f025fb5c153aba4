import { expect, test } from "bun:test";
import fc from "fast-check";
import { endOfPlainLiteral, isLiteral, quote, unquote } from "../../src/base/json-string.ts";

// With halves of surrogate pairs, control characters, and texts longer than the pattern takes.
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme", maxLength: 1_200, size: "max" }),
);

test("quote writes what JSON.stringify writes, and unquote gives it back", () => {
  fc.assert(
    fc.property(fc.oneof(text, fc.constantFrom("\ud800", 'a"b', "a\\b", "\u2028", "\x7f")), (value) => {
      expect(quote(value)).toBe(JSON.stringify(value));
      expect(unquote(quote(value))).toBe(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("what is kept of a text is not the whole text", () => {
  const text = "x".repeat(32 * 1024);
  const kept: string[] = [];
  Bun.gc(true);
  const before = process.memoryUsage().rss;
  for (let count = 0; count < 4_000; count++) {
    const decoded = new TextDecoder().decode(Buffer.from(`"result ${count}"${text}`));
    kept.push(unquote(decoded.slice(0, decoded.length - text.length)));
  }
  Bun.gc(true);
  expect(kept[1_234]).toBe("result 1234");
  // A quarter of what the texts have.
  expect(process.memoryUsage().rss - before).toBeLessThan(text.length * 1_000);
});

test("isLiteral is true for a JSON string and nothing else", () => {
  fc.assert(
    fc.property(fc.json(), text, (json, value) => {
      expect(isLiteral(json)).toBe(typeof JSON.parse(json) === "string");
      expect(isLiteral(JSON.stringify(value))).toBe(true);
      expect(isLiteral(` ${JSON.stringify(value)}`)).toBe(false);
    }),
  );
  for (const none of ["", '"', '"a', 'a"', '"a"b"', '"a","b"', '"\x01"', '"\\x"'])
    expect(isLiteral(none)).toBe(false);
});

test("the end of a plain literal is where it ends, whatever stands around it", () => {
  fc.assert(
    fc.property(text, text, text, (before, value, after) => {
      const literal = JSON.stringify(value);
      const end = endOfPlainLiteral(`${before}${literal}${after}`, before.length);
      if (end !== undefined) expect(end).toBe(before.length + literal.length);
      else expect(literal.length > 1_002 || literal.includes("\\")).toBe(true);
    }),
  );
});
