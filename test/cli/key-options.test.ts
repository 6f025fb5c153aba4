import { describe, expect, test } from "bun:test";
import { Command } from "commander";
import { addKeyFlags, expiryFrom, fieldsFrom, type KeyFlags } from "../../src/cli/key-options.ts";

function parse(...args: string[]): KeyFlags & { expires?: string } {
  const command = addKeyFlags(new Command("trust"), "--expires")
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  return command.parse(args, { from: "user" }).opts();
}

describe("the flags for an entry of the trust file", () => {
  test("set only the fields that were given", () => {
    expect(fieldsFrom(parse())).toEqual({});
    expect(expiryFrom(undefined)).toEqual({});
    expect(fieldsFrom(parse("--name", "alice", "--max-connections", "3"))).toEqual({
      name: "alice",
      max_connections: 3,
    });
  });

  test("take several values separated by commas, in a repeated flag, or both", () => {
    const given = parse("--modules", "a.ts, b-*.ts", "--modules", "c.ts", "--actions", "sync,verify");
    expect(fieldsFrom(given)).toEqual({ modules: ["a.ts", "b-*.ts", "c.ts"], actions: ["sync", "verify"] });
  });

  test.each(["0", "-1", "1.5", "1000001", "many"])("refuse %p connections", (value) => {
    expect(() => parse("--max-connections", value)).toThrow("It must be a whole number from 1 to 1000000.");
  });
});

describe("the end of the trust", () => {
  test("may be a date, which is kept as typed, or never, which removes the end", () => {
    expect(expiryFrom(parse("--expires", "2027-01-31").expires)).toEqual({ expires: "2027-01-31" });
    expect(expiryFrom(parse("--expires", "never").expires)).toEqual({ expires: null });
  });

  test("may be a duration from now", () => {
    const before = Date.now();
    const at = Date.parse(parse("--expires", "12h").expires ?? "");
    expect(at).toBeWithin(before + 43_200_000, Date.now() + 43_200_001);
  });

  test.each(["soon", "30", "", "-1d", "31.01.2027", "d"])("cannot be %p", (value) => {
    expect(() => parse("--expires", value)).toThrow(
      "It must be a date like 2027-01-31, a duration like 12h or 30d, or never.",
    );
  });

  test("as a duration is more than 0 and at most 36500d", () => {
    for (const value of ["0s", "36501d"])
      expect(() => parse("--expires", value)).toThrow("It must be more than 0 and at most 36500d.");
  });
});
