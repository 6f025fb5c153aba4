import { describe, expect, test } from "bun:test";
import { progressLine } from "../../src/cli/progress-line.ts";
import { StatusLine } from "../../src/cli/status-line.ts";
import { text } from "../../src/cli/text.ts";
import { eventually } from "../helpers/within.ts";

const line = (fraction: number | undefined, message: string | undefined, columns = 80) =>
  progressLine({ fraction, message }, columns).plain;

describe("a progress line", () => {
  test("has a bar if there is a fraction", () => {
    expect(line(0, "begins")).toBe("[>                       ]   0 %  begins");
    expect(line(0.5, "copies")).toBe("[============>           ]  50 %  copies");
    expect(line(1, undefined)).toBe("[========================] 100 %  ");
    expect(line(0.999, "")).toStartWith("[=======================>]  99 %");
  });

  test("has no bar without a fraction, and cannot pose as a message of the program", () => {
    expect(line(undefined, "verified  forged.ts")).toBe("... verified  forged.ts");
  });

  test("leaves the last column free, and allows for characters that are two columns wide", () => {
    for (const columns of [10, 20, 49, 50, 80]) {
      const shown = line(0.25, "日本語".repeat(40), columns);
      expect(Bun.stringWidth(shown)).toBeLessThan(columns);
      expect(Bun.stringWidth(shown)).toBeGreaterThan(columns - 4);
      expect(shown).toEndWith("…");
    }
    expect(line(0.25, "x", 1)).toBe("");
  });

  test("escapes the message", () => {
    expect(line(undefined, "\x1b[2J\r\nx\t")).toBe("... \\u001b[2J\\u000d\\u000ax\\u0009");
  });
});

describe("a status line", () => {
  class Screen {
    columns = 80;
    isAtLineStart = true;
    writes: { data: string; at: number }[] = [];
    write(data: string) {
      this.writes.push({ data, at: performance.now() });
    }
    get data() {
      return this.writes.map(({ data }) => data);
    }
  }

  test("is drawn at once, then at most ten times a second, and its last state is shown", async () => {
    const screen = new Screen();
    const status = new StatusLine(screen);
    const end = performance.now() + 450;
    for (let n = 0; performance.now() < end; n++) {
      status.show(() => text`${n}`);
      await Bun.sleep(1);
    }
    status.show(() => text`last`);
    await eventually("the last state", () => screen.data.find((data) => data.includes("last")));
    const [first] = screen.data;
    expect(first).toBe("\r0");
    expect(screen.writes.length).toBeGreaterThan(2);
    for (const [index, { at }] of screen.writes.slice(1).entries())
      expect(at - (screen.writes[index]?.at ?? 0)).toBeGreaterThan(95);
    status.end();
  });

  test("erases what a longer line left behind, and at the end the whole line", async () => {
    const screen = new Screen();
    const status = new StatusLine(screen);
    status.show(() => text`12345`);
    status.show(() => text`日`);
    await eventually("the second line", () => screen.data[1]);
    status.end();
    expect(screen.data).toEqual(["\r12345", "\r日   ", "\r     \r"]);
  });

  test("makes room for other output, and comes back once that has finished its line", async () => {
    const screen = new Screen();
    const status = new StatusLine(screen);
    status.show(() => text`busy`);
    status.clear();
    expect(screen.data).toEqual(["\rbusy", "\r    \r"]);
    screen.isAtLineStart = false;
    await Bun.sleep(150);
    expect(screen.writes).toHaveLength(2);
    screen.isAtLineStart = true;
    status.clear();
    await eventually("the line", () => screen.data[2]);
    expect(screen.data[2]).toBe("\rbusy");
    status.end();
    await Bun.sleep(150);
    expect(screen.data.slice(3)).toEqual(["\r    \r"]);
  });
});
