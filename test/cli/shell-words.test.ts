import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isPlainWord, splitWords } from "../../src/cli/shell-words.ts";
import { run } from "../helpers/processes.ts";

describe("the words of a line", () => {
  test.each([
    ["", []],
    ["  \t ", []],
    ["deploy env=prod", ["deploy", "env=prod"]],
    ["  hello \t world ", ["hello", "world"]],
    [`say 'a  b' "c  d"`, ["say", "a  b", "c  d"]],
    [`tags="a b"'c d'e`, ["tags=a bc de"]],
    [`''`, [""]],
    [`a "" b`, ["a", "", "b"]],
    [`'it''s' "\\"" \\'`, ["its", '"', "'"]],
    [`"\\n \\$ \\\\" '\\n'`, ["\\n $ \\", "\\n"]],
    ["a\\ b", ["a b"]],
    ["a#b #c d", ["a#b"]],
    ["# all of it 'is a comment", []],
    ["'#' \\#", ["#", "#"]],
    ["$HOME *.ts `id` $(id) ~ a;b a|b >c", ["$HOME", "*.ts", "`id`", "$(id)", "~", "a;b", "a|b", ">c"]],
    [`x:='{"a": [1]}'`, [`x:={"a": [1]}`]],
    ["grüße 世界 😀", ["grüße", "世界", "😀"]],
  ])("%j are %j", (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });

  test.each([
    ["say 'a b", "The quote ' is not closed."],
    ['say "a \\"', 'The quote " is not closed.'],
    ["say a\\", "The line ends with a \\ that quotes nothing."],
  ])("%j is refused", (line, message) => {
    expect(() => splitWords(line)).toThrow(message);
  });

  test.skipIf(process.platform === "win32")(
    "are those of a POSIX shell, if nothing can be expanded",
    async () => {
      const pieces = ["a", "b c", " ", "'", '"', "\\", "#", "=", "é"];
      const lines = fc
        .sample(fc.array(fc.constantFrom(...pieces), { maxLength: 12 }), 100)
        .map((line) => line.join(""));
      for (const line of lines) {
        const expected = await run(["sh", "-c", `printf '[%s]' x ${line}\n`]);
        const words = () => splitWords(line).map((word) => `[${word}]`);
        // A shell reads a backslash at the end as itself.
        if (expected.exitCode !== 0 || /(^|[^\\])(\\\\)*\\$/.test(line)) continue;
        expect(`[x]${words().join("")}`, line).toBe(expected.stdout);
      }
    },
  );

  test("a plain word is one that needs no quotes", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (word) => {
        if (isPlainWord(word)) expect(splitWords(word)).toEqual([word]);
      }),
    );
    for (const word of ["", "a b", "a\tb", "it's", '"', "\\", "#x"]) expect(isPlainWord(word)).toBe(false);
  });
});
