import { expect, test } from "bun:test";
import { diffLines, patchText } from "../../src/cli/patch-text.ts";
import { evil, strayEscapes } from "../helpers/escapes.ts";

const shown = (...lines: string[]) => diffLines(lines).map(({ plain }) => plain);

test("ordinary lines are shown as they are, with their tabs", () => {
  const lines = ["@@ -1,2 +1,2 @@", " \ta b", "-c", "+d ü 漢 😀", "\\ No newline at end of file"];
  expect(shown(...lines)).toEqual(lines);
});

test.each([
  ["an invisible character", "+a\u200bb", "U+200B in column 2"],
  ["a bidirectional control", "+a\u202eb", "U+202E in column 2"],
  ["an escape sequence", "+a\u001b[2Jb", "U+001B in column 2"],
  ["a carriage return", "-a\r", "U+000D in column 2"],
  ["a no-break space", "+a\u00a0b", "U+00A0 in column 2"],
  ["a variation selector", "+a\ufe0fb", "U+FE0F in column 2"],
  ["a tag character beyond the 16-bit ones", "+😀\u{e0041}", "U+E0041 in column 2"],
  ["white space at the end", "-a \t", "U+0020 in column 2, U+0009 in column 3"],
])("%s in a changed line is named below it, so that its escape can't be taken for text", (_, line, named) => {
  const [first, second] = shown(line);
  expect(strayEscapes(first ?? "").filter((stray) => stray !== "U+a0")).toEqual([]);
  expect(second).toBe(`\\ Not to be seen above: ${named}`);
});

test("an escape that the source has as text is not named, so the two differ", () => {
  expect(shown('-"a\\u200b"', '+"a\u200b"')).toEqual([
    '-"a\\u200b"',
    '+"a\\u200b"',
    "\\ Not to be seen above: U+200B in column 3",
  ]);
});

test.each([
  ["a tab for a space", "-\ta", "+ a", "-\ta", "\\ Not to be seen above: U+0009 in column 1"],
  ["another form of the same letter", "-é", "+e\u0301", "-é", "\\ Not to be seen above: U+00E9 in column 1"],
])("two lines that look the same, with %s, are told apart", (_, before, after, first, second) => {
  expect(shown(before, after).slice(0, 2)).toEqual([first, second]);
});

test("a line without a twin that looks the same may have tabs and other letters", () => {
  expect(shown("-\ta", "+\tb", "+é")).toEqual(["-\ta", "+\tb", "+é"]);
});

test("a note names at most eight characters", () => {
  const [, second] = shown(`+${"\u200b".repeat(9)}`);
  expect(second).toEndWith("U+200B in column 8, and 1 more");
});

test("nothing in a patch reaches the terminal unescaped, not even in its header", () => {
  const patch = `--- a/${evil}\n+++ b/${evil}\n@@ -1 +1 @@\n ${evil}\n-${evil}\n+${evil}\n`;
  const text = patchText(patch)
    .map(({ plain }) => plain)
    .join("\n");
  expect(strayEscapes(text)).toEqual([]);
});
