import { describe, expect, test } from "bun:test";
import { VeripyError } from "../../src/base/errors.ts";
import { parseAssertions, testPolicy } from "../../src/trust/policy.ts";
import { parseTrustedKeys } from "../../src/trust/trusted-keys.ts";
import { trustText } from "../helpers/keys.ts";

const [alice, bob, nobody] = ["a", "b", "c"].map((digit) => digit.repeat(64));
const keys = parseTrustedKeys(
  trustText(
    { fingerprint: alice, name: "alice", modules: ["deploy*.ts"], from: ["10.0.0.0/8"] },
    { fingerprint: bob, name: "bob", actions: ["verify"], expires: "2030-01-01T00:00:00Z" },
  ),
);
const now = Date.parse("2029-01-01T00:00:00Z");

function holds(text: string, at = now): boolean[] {
  return testPolicy(keys, parseAssertions(text), at).map((result) => result.holds);
}

describe("assertions about who may do what", () => {
  test.each([
    ["alice may exec deploy.ts", true],
    ["alice may exec hello.ts", false],
    ["alice may not exec hello.ts", true],
    ["alice may sync from 10.1.2.3", true],
    ["alice may sync from 192.168.0.1", false],
    ["bob may verify hello.ts", true],
    ["bob may not sync", true],
    ["bob may exec hello.ts", false],
    [`${bob} may verify`, true],
    [`${nobody} may not sync`, true],
    [`${nobody} may sync`, false],
  ])("%s: %p", (text, expected) => {
    expect(holds(text)).toEqual([expected]);
  });

  test("one about an unknown name does not hold, whatever it says, and the others are tested", () => {
    expect(holds("carol may sync\ncarol may not sync\nbob may not sync")).toEqual([false, false, true]);
    const [first] = testPolicy(keys, parseAssertions("\ncarol may sync"), now);
    expect(first).toMatchObject({ assertion: { line: 2 }, because: expect.stringContaining("'carol'") });
  });

  test("expiry counts at the moment of the test", () => {
    expect(holds("bob may verify hello.ts", Date.parse("2030-01-01T00:00:00Z"))).toEqual([false]);
  });

  test("comments and empty lines do not count", () => {
    expect(holds("# who\n\n  alice  may exec deploy.ts # the point\r\nbob may not sync\n")).toEqual([
      true,
      true,
    ]);
  });
});

test.each(["", "# nothing\n", "alice can exec x", "alice may dance", "alice may exec a b"])(
  "%j is refused rather than passed",
  (text) => {
    expect(() => holds(text)).toThrow(VeripyError);
  },
);

test("a name with spaces stands in quotes", () => {
  const spaced = parseTrustedKeys(trustText({ fingerprint: alice, name: "build box" }));
  expect(testPolicy(spaced, parseAssertions('"build box" may sync'), now)[0]?.holds).toBe(true);
});
