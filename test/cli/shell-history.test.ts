import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, readdir, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { ShellHistory, withLine } from "../../src/cli/shell-history.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

describe("which lines are kept", () => {
  test.each([
    ["a line", ["a"], "b", ["a", "b"]],
    ["the same line later", ["a", "b"], "a", ["a", "b", "a"]],
    ["not the same line twice in a row", ["a"], "a", ["a"]],
    ["not a line that begins with a space", ["a"], " secret", ["a"]],
    ["not an empty line", ["a"], "", ["a"]],
    ["not a line that would act on a terminal", ["a"], "b\u001b[2J", ["a"]],
    ["a line of 4,096 characters", [], "x".repeat(4_096), ["x".repeat(4_096)]],
    ["not a line of 4,097", [], "x".repeat(4_097), []],
  ])("%s", (_, before, line, after) => {
    expect(withLine(before, line)).toEqual(after);
  });

  test("at most 1,000: the oldest go", () => {
    const thousand = Array.from({ length: 1_000 }, (_, index) => String(index));
    expect(withLine(thousand.slice(1), "x")).toEqual([...thousand.slice(1), "x"]);
    expect(withLine(thousand, "x")).toEqual([...thousand.slice(1), "x"]);
  });
});

describe("the file", () => {
  let directory: { path: string } & AsyncDisposable;
  beforeEach(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(() => directory[Symbol.asyncDispose]());
  const file = () => join(directory.path, "home", "shell_history");
  const history = () => new ShellHistory(join(directory.path, "home"));

  test("is made with its folder, and only its owner can read it", async () => {
    await history().add("one");
    await history().add(" not this");
    await history().add("two");
    expect(await Bun.file(file()).text()).toBe("one\ntwo\n");
    expect(await history().read()).toEqual(["one", "two"]);
    if (process.platform !== "win32") {
      expect((await stat(file())).mode & 0o777).toBe(0o600);
      expect((await stat(join(file(), ".."))).mode & 0o777).toBe(0o700);
    }
    expect(await readdir(join(file(), ".."))).toEqual(["shell_history"]);
  });

  test("two shells at once keep each other's lines", async () => {
    const [one, other] = [history(), history()];
    await one.add("of the first");
    await other.add("of the second");
    await one.add("of the first again");
    expect(await history().read()).toEqual(["of the first", "of the second", "of the first again"]);
  });

  test("never has more than 1,000 lines, even if more were put there", async () => {
    await mkdir(join(file(), ".."));
    await Bun.write(file(), Array.from({ length: 1_500 }, (_, index) => `${index}\n`).join(""));
    expect(await history().read()).toHaveLength(1_000);
    await history().add("last");
    const lines = (await Bun.file(file()).text()).trimEnd().split("\n");
    expect(lines).toHaveLength(1_000);
    expect(lines.at(-1)).toBe("last");
  });

  test("lines that would act on a terminal are ignored", async () => {
    await mkdir(join(file(), ".."));
    await Bun.write(file(), "good\n\u001b]0;owned\u0007\nfine\n");
    expect(await history().read()).toEqual(["good", "fine"]);
  });

  test.skipIf(process.platform === "win32")("one that is a link, or too large, is not read", async () => {
    await mkdir(join(file(), ".."));
    await symlink("/dev/zero", file());
    await expect(history().read()).rejects.toThrow("Cannot read the history");
    await Bun.file(file()).unlink();
    await Bun.write(file(), "x".repeat(13 * 1024 * 1024));
    await expect(history().read()).rejects.toThrow("it is larger than");
  });
});
