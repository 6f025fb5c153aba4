import { expect, test } from "bun:test";
import { z } from "zod";
import { VeripyError } from "../../src/base/errors.ts";
import { plainWords } from "../../src/base/plain-issue.ts";
import { reasonOf } from "../../src/base/plain-reason.ts";
import { execRequest, parsePayload } from "../../src/protocol/messages.ts";

const schema = z.object({
  mod: z.string().min(1).max(3, "has its own words"),
  n: z.int().min(1).max(9).optional(),
  list: z
    .array(z.enum(["a", "b"]))
    .max(2)
    .optional(),
});

test.each([
  [{}, "is missing"],
  [{ mod: 7 }, "must be a string, not a number"],
  [{ mod: "" }, "must not be empty"],
  [{ mod: "abcd" }, "has its own words"],
  [{ mod: "a", n: 0 }, "must be at least 1"],
  [{ mod: "a", n: 10 }, "must be at most 9"],
  [{ mod: "a", n: 1.5 }, "must be a whole number, not 1.5"],
  [{ mod: "a", list: ["a", "b", "a"] }, "must have at most 2 entries"],
  [{ mod: "a", list: ["c"] }, 'must be "a" or "b"'],
  [[], "must be an object, not a list"],
])("%j: %s", (value, words) => {
  expect(schema.safeParse(value, plainWords).error?.issues[0]?.message).toBe(words);
});

test("a server refuses a deadline of 0 in plain words", () => {
  expect(() => parsePayload(execRequest, '{"mod":"a.ts","args":"","timeout_ms":0}')).toThrow(
    "timeout_ms: must be more than 0.",
  );
});

test("a reason names neither calls nor codes that have words, and ends without a full stop", async () => {
  const missing = await Bun.file("/no/such/file")
    .text()
    .catch((error: unknown) => error);
  expect(reasonOf(missing)).toBe("it does not exist");
  expect(reasonOf(Object.assign(new Error("EWHAT: what, open"), { code: "EWHAT" }))).toBe(
    "the system reports EWHAT",
  );
  expect(reasonOf(new VeripyError("closed", "It was closed."))).toBe("It was closed");
  expect(reasonOf(new Error(""))).toBe("Error");
  expect(reasonOf(undefined)).toBe("an unknown error occurred");
});
