import { describe, expect, test } from "bun:test";
import { sortRows, type TopRow, topTable } from "../../src/cli/top-table.ts";

const row = (mod: string, more: Partial<TopRow> = {}): TopRow => ({
  mod,
  tree: "a".repeat(64),
  current: true,
  state: "running",
  calls: 0,
  failures: 0,
  restarts: 0,
  inFlight: 0,
  callsPerSecond: 0,
  approval: { state: "approved", changed: [] },
  ...more,
});
const full = row("hello.ts", {
  callsPerSecond: 12.34,
  p50Ms: 1.5,
  p99Ms: 123,
  memoryBytes: 5 * 1024 ** 2,
  inFlight: 3,
  failures: 2,
});
const plain = (rows: TopRow[], width: number) => topTable(rows, width).map((line) => line.plain);

describe("the table", () => {
  test("has all columns where there is room", () => {
    expect(plain([full], 120)).toEqual([
      "module        approval      state     calls/s       p50       p99      memory  in flight  failed",
      "hello.ts      approved      running      12.3   1.50 ms    123 ms     5.0 MiB          3       2",
    ]);
  });

  test.each([
    [79, "module        approval      state     calls/s       p99      memory  in flight"],
    [60, "module        approval      state     calls/s       p99"],
    [41, "module        state     calls/s       p99"],
    [22, "module         calls/s"],
    [12, "module      "],
    [3, "mo…"],
    [1, "…"],
  ])("of %i columns keeps the most important ones", (width, header) => {
    const lines = plain([full], width);
    expect(lines[0]).toBe(header);
    for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width);
  });

  test("never exceeds its width, whatever a server says, and shows nothing raw", () => {
    const hostile = [
      row("世界世界世界世界世界世界世界.ts"),
      row("👩‍👩‍👧‍👦".repeat(20)),
      row("\u001b[2J\u001b]0;owned\u0007\n\u202eevil.ts", {
        state: "\u001b[31mrunning for a very long time",
      }),
      row("huge.ts", {
        callsPerSecond: 1e15,
        p50Ms: 1e15,
        p99Ms: 1e300,
        memoryBytes: 1e18,
        inFlight: 1e12,
        failures: 1e12,
      }),
    ];
    for (let width = 1; width <= 130; width++) {
      for (const line of plain(hostile, width)) {
        expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width);
        expect(line).not.toMatch(/[\p{Cc}\u202e]/u);
      }
    }
  });

  test("a retained version is marked", () => {
    expect(plain([row("a.ts", { current: false })], 120)[1]).toStartWith("a.ts (old) ");
  });

  test("of no modules is its header", () => {
    expect(plain([], 120)).toHaveLength(1);
  });
});

describe("the order", () => {
  const rows = [
    row("b.ts", { callsPerSecond: 1, memoryBytes: 3, p99Ms: 2, inFlight: 1 }),
    row("a.ts", { callsPerSecond: 1, memoryBytes: 1, p99Ms: 3, inFlight: 2 }),
    row("c.ts", { callsPerSecond: 2, memoryBytes: 2, inFlight: 3 }),
  ];
  const names = (key: "c" | "m" | "p" | "f" | "n", isReversed = false) =>
    sortRows(rows, { key, isReversed })
      .map(({ mod }) => mod[0])
      .join("");

  test("is that of the key; equal rows are sorted by name", () => {
    expect(["c", "m", "p", "f", "n"].map((key) => names(key as "c"))).toEqual([
      "cab",
      "bca",
      "abc",
      "cab",
      "abc",
    ]);
  });

  test("can be reversed", () => {
    expect(["c", "m", "p", "f", "n"].map((key) => names(key as "c", true))).toEqual([
      "abc",
      "acb",
      "cba",
      "bac",
      "cba",
    ]);
  });
});
