import { expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/sha256.ts";
import { byPath, treeSum } from "../../src/protocol/tree.ts";
import { ModsDir } from "../helpers/mods-dir.ts";

const contents: Record<string, string> = {
  "hello.ts": "export {}\n",
  "lib/a.ts": "",
  "lib.ts": "x",
  "Z.ts": "upper case sorts first",
  "ä.ts": "two bytes",
  "\u{ff5e}.ts": "three bytes",
  "\u{1f600}.ts": "four bytes, but a smaller UTF-16 unit than the three",
  "with space.ts": "1",
  "back\\slash.ts": "2",
  "line\nbreak.ts": "3",
  "carriage\rreturn.ts": "4",
};

function entriesOf(paths: string[]) {
  return paths.map((path) => ({ path, sum: sha256Hex(contents[path] ?? "") }));
}

test("a tree's digest equals that of 'sha256sum … | sha256sum', for every kind of file name", async () => {
  await using mods = await ModsDir.create(contents);
  const entries = entriesOf(Object.keys(contents));
  const sorted = [...entries].sort(byPath).map(({ path }) => path);
  expect(treeSum(entries) as string).toBe(await mods.treeSum(...sorted));
});

test("paths are ordered as LC_ALL=C sort orders them", async () => {
  const names = ["lib/a.ts", "lib.ts", "Z.ts", "ä.ts", "\u{ff5e}.ts", "\u{1f600}.ts", "with space.ts"];
  const process = Bun.spawn(["sort"], {
    stdin: new Blob([`${names.join("\n")}\n`]),
    env: { ...Bun.env, LC_ALL: "C" },
  });
  const sorted = (await new Response(process.stdout).text()).trimEnd().split("\n");
  expect(
    entriesOf(names)
      .sort(byPath)
      .map(({ path }) => path),
  ).toEqual(sorted);
});

test("a tree's digest does not depend on the order in which files were found", () => {
  const entries = entriesOf(Object.keys(contents));
  expect(treeSum(entries.toReversed())).toBe(treeSum(entries));
});

test("a tree's digest changes with any byte of a file, with a name, and with a file added or removed", () => {
  const entries = entriesOf(["hello.ts", "lib/a.ts"]);
  const others = [
    entriesOf(["hello.ts"]),
    entriesOf(["hello.ts", "lib/a.ts", "lib.ts"]),
    entries.map((entry) => ({ ...entry, path: entry.path.replace("lib/a", "lib/b") })),
    entries.map((entry) => ({ ...entry, sum: sha256Hex("tampered") })),
  ];
  const sums = [entries, ...others].map(treeSum);
  expect(new Set(sums).size).toBe(sums.length);
});
