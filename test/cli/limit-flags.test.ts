import { describe, expect, test } from "bun:test";
import { Command } from "commander";
import { addLimitFlags, limitsFrom, loadLimits } from "../../src/cli/limit-flags.ts";
import { defaultLimits, type Limits } from "../../src/index.ts";

const clientsOwn: (keyof Limits)[] = ["maxAnswerLineBytes"];

function limitsOf(...args: string[]): Partial<Limits> {
  const command = addLimitFlags(new Command("start"))
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  return limitsFrom(command.parse(args, { from: "user" }).opts());
}

/** Each limit's flag and the default that the help page shows, as they would be typed. */
function flagsWithDefaults(): string[] {
  return addLimitFlags(new Command("start")).options.flatMap(({ long, description }) => [
    long ?? "",
    /\(default: (.*)\)$/.exec(description)?.[1] ?? "",
  ]);
}

describe("the flags of the limits", () => {
  test("typed with the defaults that the help page shows, give exactly the default limits of a server", () => {
    const expected: Partial<Limits> = { ...defaultLimits };
    for (const limit of clientsOwn) delete expected[limit];
    expect(limitsOf(...flagsWithDefaults())).toEqual(expected);
  });

  test("say nothing about a limit that was not given", () => {
    expect(limitsOf()).toEqual({});
    expect(limitsOf("--max-line", "2MiB", "--exec-timeout", "5s", "--retain", "3")).toEqual({
      maxLineBytes: 2_097_152,
      execMs: 5_000,
      retain: 3,
    });
  });

  test("take the unit of their kind: idle-stop is in minutes, the timeouts are in seconds", () => {
    expect(limitsOf("--idle-stop", "2", "--idle-timeout", "2")).toEqual({
      idleStopMs: 120_000,
      idleMs: 2_000,
    });
  });

  test.each([
    ["--max-line", "big"],
    ["--exec-timeout", "soon"],
    ["--max-connections", "-1"],
  ])("refuse %s %s", (flag, value) => {
    expect(() => limitsOf(flag, value)).toThrow(value);
  });

  test("that are not listed are hidden from the help page, and accepted all the same", () => {
    const check = addLimitFlags(new Command("check"), loadLimits);
    const shown = check.options.filter(({ hidden }) => !hidden).map(({ long }) => long);
    expect(shown).toEqual([
      "--max-file",
      "--max-tree",
      "--max-tree-files",
      "--load-timeout",
      "--module-memory",
    ]);
    const parsed = check.parse(["--max-connections", "5"], { from: "user" });
    expect(limitsFrom(parsed.opts())).toEqual({ maxConnections: 5 });
  });
});
