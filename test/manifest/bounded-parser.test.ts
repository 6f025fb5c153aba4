import { describe, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { parseSource } from "../../src/manifest/parse-source.ts";

/** What the parser says to a text: the error's message, or "parsed". */
function outcome(text: string, path = "m.ts"): string {
  try {
    parseSource(path, text);
    return "parsed";
  } catch (error) {
    if (error instanceof VeripyError && error.code === "bad_module") return error.message;
    throw error;
  }
}

function repeat(count: number, piece: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => piece(index)).join("");
}

/** Processor time rather than elapsed time: other programs don't count. */
function cpuMsOf(action: () => void): number {
  const before = process.cpuUsage();
  action();
  return process.cpuUsage(before).user / 1_000;
}

describe("ambiguous TypeScript is refused with its place, and quickly", () => {
  const ambiguous: [what: string, small: string, large: string][] = [
    ["a chain of comparisons", `x = a${" < b".repeat(60)}`, `x = a${" < b".repeat(600)}`],
    [
      "nested type assertions",
      `x = ${"<T>(".repeat(8)}1${")".repeat(8)}`,
      `x = ${"<T>(".repeat(30)}1${")".repeat(30)}`,
    ],
    [
      "comments between the operands",
      `x = a${` < b /*${"c".repeat(100)}*/`.repeat(20)}`,
      `x = a${` < b /*${"c".repeat(10_000)}*/`.repeat(80)}`,
    ],
  ];
  test.each(ambiguous)("%s", (_what, small, large) => {
    expect(outcome(small)).toBe("parsed");
    expect(outcome(`const fine = 1;\n${large}`)).toMatch(/^m\.ts:2:\d+: Too ambiguous to parse: /);
  });

  test("in less than a second, where without the bound it is ten or more", () => {
    const text = `x = ${"<T>(".repeat(18)}1${")".repeat(18)}`;
    expect(cpuMsOf(() => outcome(text))).toBeLessThan(1_000);
  });

  test("a long text may take more than a short one", () => {
    expect(outcome(`x = a${" < b".repeat(200)}`)).toContain("Too ambiguous");
    expect(outcome(`x = a${" < b".repeat(200)}; // ${"c".repeat(100_000)}`)).toBe("parsed");
  });
});

describe("what is nested too deeply is refused with its place", () => {
  const nested: [what: string, path: string, text: (levels: number) => string][] = [
    ["lists", "m.ts", (n) => `x = ${"[".repeat(n)}${"]".repeat(n)}`],
    ["parentheses", "m.js", (n) => `x = ${"(".repeat(n)}1${")".repeat(n)}`],
    ["blocks", "m.js", (n) => "{".repeat(n) + "}".repeat(n)],
    ["operators", "m.js", (n) => `x = ${"!".repeat(n)}1`],
    ["functions", "m.js", (n) => "(() => {".repeat(n) + "})()".repeat(n)],
    ["patterns", "m.js", (n) => `let ${"[".repeat(n)}a${"]".repeat(n)} = b`],
    ["templates", "m.js", (n) => `x = ${"`${".repeat(n)}1${"}`".repeat(n)}`],
    ["branches", "m.js", (n) => `if (a);${" else if (a);".repeat(n)}`],
    ["types", "m.ts", (n) => `type T = ${"[".repeat(n)}1${"]".repeat(n)}`],
    ["type operators", "m.ts", (n) => `type T = ${"keyof ".repeat(n)}U`],
    ["type arguments", "m.ts", (n) => `type T = ${"A<".repeat(n)}B${" >".repeat(n)}`],
  ];
  test.each(nested)("%s", (_what, path, text) => {
    expect(outcome(text(200), path)).toBe("parsed");
    const message = outcome(`const fine = 1;\n${text(100_000)}`, path);
    expect(message).toMatch(/^m\.[jt]s:2:\d+: Nested too deeply$/);
  });

  test("a long chain is not nested", () => {
    expect(outcome(`x = 1${" + 1".repeat(20_000)}`)).toBe("parsed");
    expect(outcome(`x = a${".b()".repeat(20_000)}`)).toBe("parsed");
    expect(outcome(`type T = 1${" | 1".repeat(20_000)}`)).toBe("parsed");
  });
});

test("a scope has at most 5,000 names", () => {
  const names = (count: number) => repeat(count, (index) => `let a${index};\n`);
  for (const path of ["m.ts", "m.js"]) {
    expect(outcome(names(5_000), path)).toBe("parsed");
    expect(outcome(names(5_001), path)).toBe(
      `${path}:5001:5: Too many names in one scope: the limit is 5000`,
    );
    expect(outcome(`{ ${names(3_000)} } { ${names(3_000)} }`, path)).toBe("parsed");
  }
});

describe("a file has at most 100,000 words and signs", () => {
  test("at the limit and one past it", () => {
    for (const path of ["m.ts", "m.js"]) {
      // Its start and its end count too.
      expect(outcome(";".repeat(99_998), path)).toBe("parsed");
      expect(outcome(`\n${";".repeat(99_999)}`, path)).toBe(
        `${path}:2:100000: Too much code in one file: the limit is 100000 words and signs. Split it up, or keep data in a .json file`,
      );
    }
  });

  test("texts and comments of any length are one, or none", () => {
    expect(outcome(`/* ${"x ".repeat(300_000)} */ const x = "${"y ".repeat(300_000)}";`)).toBe("parsed");
  });

  test("so a megabyte of the slowest kinds takes less than two seconds, where without the bound it is many", () => {
    for (const piece of ["a\n", "a<b>(c);", "(a,b)=>a;", "async(a);"]) {
      const text = piece.repeat(1_000_000 / piece.length);
      expect(cpuMsOf(() => outcome(text))).toBeLessThan(2_000);
    }
  });
});

test("a regular expression has at most 200 named groups", () => {
  const pattern = (count: number) => `x = /${repeat(count, (index) => `(?<a${index}>a)`)}/;`;
  for (const path of ["m.ts", "m.js"]) {
    expect(outcome(pattern(200), path)).toBe("parsed");
    expect(outcome(`\n${pattern(10_000)}`, path)).toBe(
      `${path}:2:5: Too many named groups in a regular expression: the limit is 200`,
    );
  }
});
