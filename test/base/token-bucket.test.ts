import { expect, test } from "bun:test";
import { TokenBucket } from "../../src/base/token-bucket.ts";

test("a bucket allows its burst at once, then its rate, and never more than its burst", () => {
  const bucket = new TokenBucket(3, 2, 0);
  const taken = (now: number, tries: number) =>
    Array.from({ length: tries }, () => bucket.take(1, now)).filter(Boolean).length;
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
  expect([bucket.take(1, 0), bucket.take(1, 1e9)]).toEqual([false, false]);
});

test("taking more than is left takes nothing, and asking never does", () => {
  const bucket = new TokenBucket(10, 1, 0);
  expect(bucket.take(7, 0)).toBe(true);
  expect([bucket.has(4, 0), bucket.take(4, 0)]).toEqual([false, false]);
  expect([bucket.has(3, 0), bucket.has(3, 0), bucket.take(3, 0)]).toEqual([true, true, true]);
});

test("borrowing says how long to wait until the debt is paid", () => {
  const bucket = new TokenBucket(10, 2, 0);
  expect(bucket.borrow(10, 0)).toBe(0);
  expect(bucket.borrow(4, 0)).toBe(2_000);
  expect(bucket.take(1, 2_000)).toBe(false);
  expect(bucket.take(1, 2_500)).toBe(true);
});
