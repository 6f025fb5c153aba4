import { expect, test } from "bun:test";
import { chmod, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { SourceStore, type StoredFile } from "../../src/approvals/source-store.ts";
import { sha256Hex } from "../../src/base/sha256.ts";
import { treeSum } from "../../src/protocol/tree.ts";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

function file(path: string, content: string): StoredFile {
  return { path, content, sum: sha256Hex(content) };
}
const version = [file("hello.ts", "import './lib/a.ts';\n"), file("lib/a.ts", "export {};\n")];
const tree = treeSum(version);

async function stored(flush: boolean): Promise<{ store: SourceStore; folder: string } & AsyncDisposable> {
  const { path, ...rest } = await temporaryDirectory();
  const store = new SourceStore(join(path, "store"));
  await store.keep(version, { flush });
  return { store, folder: store.folder, ...rest };
}

test.each([true, false])(
  "a version is read as it was kept, its own file first (flushed: %p)",
  async (flush) => {
    await using kept = await stored(flush);
    expect(await kept.store.read("hello.ts", tree)).toEqual(version);
    expect(await kept.store.read("other.ts", tree)).toBeUndefined();
    expect(await kept.store.read("hello.ts", sha256Hex("other"))).toBeUndefined();
  },
);

test("sha256sum checks the names of all files, and only their owner can read them", async () => {
  await using kept = await stored(true);
  const { stdout } = await run(["sh", "-c", "sha256sum *; stat -c %a . *"], { cwd: kept.folder });
  const [own, imported, listing, folder, ...files] = stdout.trim().split("\n");
  for (const line of [own, imported, listing]) expect(line?.slice(0, 64)).toBe(line?.slice(66) ?? "");
  expect([folder, ...files]).toEqual(["700", "600", "600", "600"]);
});

test.each([
  ["the module's own file", () => version[0]?.sum ?? ""],
  ["an imported file", () => version[1]?.sum ?? ""],
  ["the listing", () => tree],
])(
  "when %s was changed or removed, the version is as good as missing, until it is kept again",
  async (_, name) => {
    await using kept = await stored(false);
    const path = join(kept.folder, name());
    await Bun.write(path, "tampered");
    expect(await kept.store.read("hello.ts", tree)).toBeUndefined();
    await rm(path);
    expect(await kept.store.read("hello.ts", tree)).toBeUndefined();
    await kept.store.keep(version);
    expect(await kept.store.read("hello.ts", tree)).toEqual(version);
  },
);

test("a name that is no digest is never read", async () => {
  await using kept = await stored(false);
  await Bun.write(join(kept.folder, "..", "secret"), "x");
  for (const name of ["../secret", "", ".", tree.toUpperCase(), `${tree}/`])
    expect(await kept.store.readText(name)).toBeUndefined();
});

test("versions are found by the first digits of their tree, of this module only", async () => {
  await using kept = await stored(false);
  expect(await kept.store.treesOf("hello.ts", tree.slice(0, 8))).toEqual([tree]);
  expect(await kept.store.treesOf("hello.ts", "")).toEqual([tree]);
  expect(await kept.store.treesOf("other.ts", tree)).toEqual([]);
  expect(await kept.store.treesOf("hello.ts", sha256Hex("other"))).toEqual([]);
  await Bun.write(join(kept.folder, tree), "tampered");
  expect(await kept.store.treesOf("hello.ts", tree)).toEqual([]);
});

test("what is approved stays when the store is too large; the rest goes", async () => {
  await using kept = await stored(false);
  const newer = [file("hello.ts", "// newer\n")];
  await kept.store.keep(newer);
  await kept.store.prune([tree], 1);
  expect(await kept.store.read("hello.ts", tree)).toEqual(version);
  expect(await kept.store.read("hello.ts", treeSum(newer))).toBeUndefined();
  await kept.store.prune([], 1);
  expect(await readdir(kept.folder)).toEqual([]);
});

test.skipIf(process.getuid?.() === 0)(
  "a version that must be on the disk and can't be written is an error",
  async () => {
    await using kept = await stored(false);
    await chmod(kept.folder, 0o500);
    await expect(kept.store.keep([file("b.ts", "b")], { flush: true })).rejects.toThrow();
    await kept.store.keep([file("b.ts", "b")]);
    await chmod(kept.folder, 0o700);
  },
);

test("pruning is due at first, and again whenever much was written", async () => {
  await using kept = await stored(false);
  const { store } = kept;
  expect(store.isPruneDue).toBe(true);
  await store.prune([tree]);
  expect(store.isPruneDue).toBe(false);
  await store.keep([file("big.ts", "x".repeat(31 * 1024 * 1024))]);
  expect(store.isPruneDue).toBe(false);
  await store.keep([file("big.ts", "y".repeat(2 * 1024 * 1024))]);
  expect(store.isPruneDue).toBe(true);
});
