import { describe, expect, test } from "bun:test";
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseToml, readToml } from "../../src/base/strict-toml.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const text = `# names
host = "prod"
list = [
  "a", # [hosts.b]
  "b",
]
note = """
[hosts.c]
"""

[hosts.prod]
address = "server.example:8443"
[hosts]
test.address = "test.example"
`;

describe("a key's line", () => {
  test.each<[path: string[], line: number | undefined]>([
    [["host"], 2],
    [["list"], 3],
    [["list", "1"], 3],
    [["note"], 7],
    [["hosts"], 11],
    [["hosts", "prod", "address"], 12],
    [["hosts", "test", "address"], 14],
    [["hosts", "c"], undefined],
    [["hosts", "constructor"], undefined],
    [["host", "length", "x"], undefined],
  ])("%j is on line %p", (path, line) => {
    expect(parseToml(text, "f").lineOf(path)).toBe(line);
  });

  test("is the same with the line ends of Windows", () => {
    expect(parseToml(text.replaceAll("\n", "\r\n"), "f").lineOf(["hosts", "prod", "address"])).toBe(12);
  });
});

describe("what is not TOML is refused with its line:", () => {
  test.each<[what: string, text: string, problem: string]>([
    ["a key without a value", "a = 1\n\nb =\n", "f: line 3: missing value"],
    ["a list without its end", "a = 1\nb = [\n  1,\n", "f: line 2: "],
    ["a key that is set twice", "a = 1\na = 2\n", "f: line 2: cannot redefine key 'a'"],
    ["a table that is opened twice", "[t]\na = 1\n[t]\n", "f: line 3: cannot redefine table 't'"],
    ["a string without its end", "a = 1\nb = 'x\n", "f: line 2: unterminated string"],
    ["a word", "a", "f: line 1: "],
    ["lists in lists without end", `a = ${"[".repeat(30_000)}`, "f: line 1: nested too deeply"],
  ])("%s", (_, broken, problem) => {
    expect(() => parseToml(broken, "f")).toThrow(problem);
  });

  test("a thousand lines are read, and one more is too many", () => {
    expect(parseToml("\n".repeat(999), "f").value).toEqual({});
    expect(() => parseToml("\n".repeat(1_000), "f")).toThrow("f: it has more than 1000 lines.");
  });
});

test.skipIf(process.platform === "win32")(
  "a file is read unless every user may write to it, it is too large, or it is not a file",
  async () => {
    await using folder = await temporaryDirectory();
    const path = join(folder.path, "f.toml");
    expect(await readToml(path)).toBeUndefined();
    await Bun.write(path, text);
    expect((await readToml(path))?.value).toMatchObject({ host: "prod" });
    await chmod(path, 0o646);
    await expect(readToml(path)).rejects.toMatchObject({ code: "bad_identity" });
    await chmod(path, 0o644);
    await Bun.write(path, `# ${"x".repeat(64 * 1024)}`);
    await expect(readToml(path)).rejects.toMatchObject({
      code: "bad_config",
      message: expect.stringContaining("more than 65536 bytes"),
    });
    await mkdir(join(folder.path, "folder"));
    await expect(readToml(join(folder.path, "folder"))).rejects.toMatchObject({ code: "bad_config" });
  },
);
