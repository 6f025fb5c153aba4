import { describe, expect, test } from "bun:test";
import { SimilarRecords } from "../../../src/server/observers/similar-records.ts";
import { eventually } from "../../helpers/within.ts";

function recording() {
  const written: Record<string, unknown>[] = [];
  const records = new SimilarRecords((record) => written.push({ ...record }));
  const add = (what: string, who: string, times = 1) => {
    for (let count = 0; count < times; count++) records.add({ what }, { who }, () => ({ what, who, count }));
  };
  return { written, records, add };
}

describe("similar records", () => {
  test("are written whole up to five, then as one with their count and the times of the first and the last", () => {
    const { written, records, add } = recording();
    const before = Date.now();
    add("refused", "ann", 1_000);
    expect(written).toEqual([0, 1, 2, 3, 4].map((count) => ({ what: "refused", who: "ann", count })));
    records.flush();
    const summary = written[5] as { first: string; last: string };
    expect(written).toHaveLength(6);
    expect(summary).toMatchObject({ what: "refused", who: "ann", count: 995 });
    expect(Date.parse(summary.first)).toBeWithin(before, Date.parse(summary.last) + 1);
    expect(Date.parse(summary.last)).toBeLessThanOrEqual(Date.now());
  });

  test("of another kind are not affected", () => {
    const { written, add } = recording();
    add("refused", "ann", 100);
    add("refused", "bob");
    add("forbidden", "ann");
    expect(written.slice(5)).toEqual([
      { what: "refused", who: "bob", count: 0 },
      { what: "forbidden", who: "ann", count: 0 },
    ]);
  });

  test("that were all written whole get no count, and later ones are written whole again", () => {
    const { written, records, add } = recording();
    add("refused", "ann", 5);
    records.flush();
    records.flush();
    expect(written).toHaveLength(5);
    add("refused", "ann");
    expect(written).toHaveLength(6);
  });

  test("of more kinds than can be distinguished are counted together, and none is lost", () => {
    const { written, records, add } = recording();
    for (let number = 0; number < 50_000; number++)
      add(number % 2 === 0 ? "refused" : "forbidden", `${number}`);
    expect(written).toHaveLength(1_000);
    records.flush();
    expect(written).toHaveLength(1_002);
    expect(written.slice(1_000).map(({ what, who }) => [what, who])).toEqual([
      ["refused", undefined],
      ["forbidden", undefined],
    ]);
    const counted = written.slice(1_000).reduce((sum, { count }) => sum + Number(count), 0);
    expect(counted).toBe(49_000);
  });

  test("are counted for ten seconds", async () => {
    const { written, add } = recording();
    const startedAt = performance.now();
    add("refused", "ann", 6);
    await eventually("the count", () => written.length === 6, 12_000);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(10_000);
  }, 15_000);
});
