import { describe, expect, test } from "bun:test";
import { table } from "../../src/cli/table.ts";
import { styled, text } from "../../src/cli/text.ts";

const shown = (rows: Parameters<typeof table>[0]) => table(rows).map(({ plain }) => plain);

describe("a table", () => {
  test("aligns its columns, even if characters are two columns wide or none", () => {
    const lines = shown([
      ["hello.ts", "aa95", "Says hello"],
      ["日本語.ts", "73cb", "two columns each"],
      ["cafe\u0301.ts", "1cb0", "a combining accent"],
    ]);
    expect(lines.map((line) => Bun.stringWidth(line.slice(0, line.search(/aa95|73cb|1cb0/))))).toEqual([
      11, 11, 11,
    ]);
    expect(lines[1]).toBe("日本語.ts  73cb  two columns each");
  });

  test("has no trailing spaces, and accepts styled cells and numbers", () => {
    expect(
      shown([
        [styled("red", "bad"), 7, ""],
        ["x", "", ""],
      ]),
    ).toEqual(["bad  7", "x"]);
  });

  test("measures a value after escaping it", () => {
    expect(
      shown([
        ["a\x1b[2J\n", "1"],
        ["b", "2"],
      ]),
    ).toEqual(["a\\u001b[2J\\u000a  1", "b                 2"]);
  });

  test("does not widen a column for one very long cell", () => {
    const [long, short] = shown([
      ["x".repeat(10_000), "1"],
      ["y", "2"],
    ]);
    expect(long).toEndWith("xx  1");
    expect(short).toBe(`y${" ".repeat(61)}2`);
  });

  test("cuts the last column to a terminal's width, and no other, and keeps its styles", () => {
    const rows = [["日本語.ts", "aa95", text`${styled("red", "[all]")} Says 漢字漢字漢字`]];
    const lines = (columns: number) => table(rows, columns).map(({ plain }) => plain);
    expect(lines(80)).toEqual(["日本語.ts  aa95  [all] Says 漢字漢字漢字"]);
    expect(lines(33)).toEqual(["日本語.ts  aa95  [all] Says 漢字…"]);
    expect(lines(1)).toEqual(["日本語.ts  aa95  [all] Says …"]);
    expect(table(rows, 33)[0]?.pieces.some(({ style }) => style === "red")).toBe(true);
    // A row that ends before the last column has nothing to cut.
    expect(table([["x".repeat(40), "aa95", ""]], 20).map(({ plain }) => plain)).toEqual([
      `${"x".repeat(40)}  aa95`,
    ]);
  });
});
