import { describe, expect, test } from "bun:test";
import { InvalidArgumentError } from "commander";
import type { z } from "zod";
import {
  count,
  deadline,
  duration,
  minutes,
  moduleName,
  parsed,
  size,
  userName,
  wholeNumber,
} from "../../src/cli/flag-values.ts";

/** What a flag's value becomes, or the message that refuses it. */
function resultOf(schema: z.ZodType, text: string): unknown {
  try {
    return parsed(schema)(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.message;
    throw error;
  }
}

describe("a whole number", () => {
  test.each([
    ["1", 1],
    ["007", 7],
    ["10", 10],
  ])("may be %p", (text, value) => expect(resultOf(wholeNumber(1, 10), text)).toBe(value));

  test.each(["0", "11", "-1", "1.5", "1e1", "0x1", "", " 1", "1 ", "９", "9".repeat(16)])(
    "from 1 to 10 cannot be %p",
    (text) => expect(resultOf(wholeNumber(1, 10), text)).toBe("It must be a whole number from 1 to 10."),
  );

  test("that counts something is at most a billion", () => {
    expect(resultOf(count, "1000000000")).toBe(1_000_000_000);
    expect(resultOf(count, "1000000001")).toBe("It must be a whole number from 0 to 1000000000.");
  });
});

describe("a duration", () => {
  test.each([
    ["500ms", 500],
    ["30", 30_000],
    ["30s", 30_000],
    ["1.5s", 1_500],
    ["10m", 600_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
    ["0", 0],
  ])("%p is %p", (text, value) => expect(resultOf(duration, text)).toBe(value));

  test("without a unit is in seconds, and for a flag in minutes in minutes", () => {
    expect(resultOf(duration, "5")).toBe(5_000);
    expect(resultOf(minutes, "5")).toBe(300_000);
    expect(resultOf(minutes, "5s")).toBe(5_000);
  });

  test.each(["", "s", "0.0004s", "5 s", "-5s", "5S", "5w", "1h30m", "1.2.3s", ".5s", "1e3s", "9999999999s"])(
    "cannot be %p",
    (text) => expect(resultOf(duration, text)).toBe("It must be a duration like 500ms, 30s, 10m or 2h."),
  );

  test("that is a deadline is at least 1ms and fits into a timer", () => {
    expect(resultOf(deadline, "1ms")).toBe(1);
    expect(resultOf(deadline, "24d")).toBe(2_073_600_000);
    for (const text of ["0", "0ms", "25d"])
      expect(resultOf(deadline, text)).toBe("It must be from 1ms to 24d.");
  });
});

describe("a size", () => {
  test.each([
    ["0", 0],
    ["65536", 65_536],
    ["64KiB", 65_536],
    ["1mib", 1_048_576],
    ["2GiB", 2_147_483_648],
  ])("%p is %p bytes", (text, value) => expect(resultOf(size, text)).toBe(value));

  test.each(["", "KiB", "1KB", "1M", "1 MiB", "-1", "1.5MiB", "9999999999999"])("cannot be %p", (text) =>
    expect(resultOf(size, text)).toBe("It must be a size like 65536, 64KiB, 1MiB or 2GiB."),
  );
});

describe("a user", () => {
  test.each(["veripy", "_x", "a-b_c9", "1000", `u${"x".repeat(30)}`])("may be %p", (text) =>
    expect(resultOf(userName, text)).toBe(text),
  );

  test.each(["", "-x", "9lives", "a b", "a\nb", "root;", `u${"x".repeat(31)}`, "12345678901"])(
    "cannot be %p",
    (text) => expect(resultOf(userName, text)).toStartWith("It must be a user name"),
  );
});

test("a module's name has from 1 to 255 characters", () => {
  expect(resultOf(moduleName, "x".repeat(255))).toBe("x".repeat(255));
  expect(resultOf(moduleName, "x".repeat(256))).toBe("It must have at most 255 characters.");
  expect(resultOf(moduleName, "")).toBe("It must not be empty.");
});
