import { expect, test } from "bun:test";
import { TokenBucket } from "../../src/base/token-bucket.ts";

test("a bucket allows its burst at once, then so many a second, and never more than its burst", () => {
  const bucket = new TokenBucket(3, 2, 0);
  const taken = (now: number, tries: number) =>
    Array.from({ length: tries }, () => bucket.take(now)).filter(Boolean).length;
  expect(taken(0, 5)).toBe(3);
  expect(taken(499, 5)).toBe(0);
  expect(taken(500, 5)).toBe(1);
  expect(taken(1_500, 5)).toBe(2);
  expect(bucket.isFull(2_999)).toBe(false);
  expect(bucket.isFull(3_000)).toBe(true);
  expect(taken(60_000, 10)).toBe(3);
});

test("a bucket of nothing allows nothing", () => {
  const bucket = new TokenBucket(0, 0, 0);
  expect([bucket.take(0), bucket.take(1e9)]).toEqual([false, false]);
});
