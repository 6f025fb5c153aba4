import { expect, test } from "bun:test";
import { terminalSvg } from "./terminal-svg.ts";

const drawn = (output: string, columns = 80) => {
  const svg = terminalSvg([{ title: "one", output }], columns);
  return [...svg.matchAll(/<text y="\d+">(.*?)<\/text>/g)].map(([, row = ""]) =>
    [...row.matchAll(/<tspan [^>]*?(?: class="(\w+)")?>([^<]*)<\/tspan>/g)].map(([, style, text]) =>
      style === undefined ? text : `${style}(${text})`,
    ),
  );
};

test("colours, typed commands and characters of XML are drawn as they are", () => {
  expect(drawn("$ cat x\r\n\x1b[32minfo\x1b[0m a < b & c\r\n")).toEqual([
    ["typed($ cat x)"],
    ["green(info)", " a &lt; b &amp; c"],
  ]);
});

test("a line longer than the terminal is wide is wrapped, and keeps its colours", () => {
  expect(drawn("ab\x1b[31mcdefg\x1b[39mh", 4)).toEqual([
    ["ab", "red(cd)"],
    ["red(efg)", "h"],
  ]);
});

test("a control sequence that can't be drawn is an error, not a wrong picture", () => {
  expect(() => drawn("\x1b[2J")).toThrow("Cannot draw");
});
