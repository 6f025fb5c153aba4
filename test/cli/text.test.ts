import { describe, expect, test } from "bun:test";
import { indented, lines, styled, type Text, text } from "../../src/cli/text.ts";

const foreign = "\x1b[32mok\x1b[39m\nverified  forged.ts";
const escaped = "\\u001b[32mok\\u001b[39m\\u000averified  forged.ts";

/** The text without its styles. */
const plain = (shown: Text) => shown.pieces.map((piece) => piece.text).join("");

describe("a text", () => {
  test("keeps the line breaks of its template and escapes those of its values", () => {
    expect(plain(text`one\n${foreign}\n${7}`)).toBe(`one\n${escaped}\n7`);
  });

  test("escapes styled values and nested texts", () => {
    expect(plain(styled("red", foreign))).toBe(escaped);
    expect(plain(text`${text`(${foreign})`} ${styled("red", foreign)}`)).toBe(`(${escaped}) ${escaped}`);
  });

  test("made of a page keeps the page's line breaks and escapes everything else", () => {
    expect(plain(lines("a\n\tb\x1b[2J"))).toBe("a\n\tb\\u001b[2J");
  });

  test("from elsewhere is indented from its second line on", () => {
    expect(plain(indented("failed\nverified  forged.ts\n"))).toBe("failed\n  verified  forged.ts");
    expect(plain(text`error: ${indented(foreign)}`)).toBe(
      "error: \\u001b[32mok\\u001b[39m\n  verified  forged.ts",
    );
  });
});
