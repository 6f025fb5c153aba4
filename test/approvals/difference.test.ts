import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Approval, changesOf } from "../../src/approvals/approval.ts";
import { compareVersions, type VersionDifference } from "../../src/approvals/difference.ts";
import type { ApprovedModule } from "../../src/approvals/lock.ts";
import type { StoredFile } from "../../src/approvals/source-store.ts";
import { sha256Hex } from "../../src/base/sha256.ts";
import { treeSum } from "../../src/protocol/tree.ts";
import { approvedText } from "./arbitrary-lock.ts";

const pending: Approval = { state: "pending", changed: ["code"] };

function filesOf(texts: Record<string, string>): StoredFile[] {
  return Object.entries(texts).map(([path, content]) => ({ path, content, sum: sha256Hex(content) }));
}

function approvedOf(files: readonly StoredFile[], more: Partial<ApprovedModule> = {}): ApprovedModule {
  return approvedText("", {
    tree: treeSum(files),
    files: Object.fromEntries(files.map(({ path, sum }) => [path, sum])),
    ...more,
  });
}

function versionOf(
  files: readonly StoredFile[],
  more: Partial<NonNullable<VersionDifference["after"]>> = {},
): NonNullable<VersionDifference["after"]> {
  const sum = files[0]?.sum ?? sha256Hex("");
  return {
    mod: "hello.ts",
    tree: treeSum(files),
    sum,
    description: undefined,
    permissions: {},
    input: undefined,
    files,
    ...more,
  };
}

/** What differs between two sets of files, of which the first was approved. */
function compare(before: Record<string, string>, after: Record<string, string>): VersionDifference {
  const [old, current] = [filesOf(before), filesOf(after)];
  return compareVersions("hello.ts", pending, approvedOf(old), old, versionOf(current));
}

/** Applies a unified diff of texts that end with a newline. */
function applied(text: string, patch: string): string {
  const lines = text.split("\n");
  const result: string[] = [];
  let next = 0;
  for (const line of patch.split("\n").slice(2)) {
    const hunk = /^@@ -(\d+)(?:,(\d+))? /.exec(line);
    if (hunk !== null) {
      const start = Math.max(0, Number(hunk[1]) - (hunk[2] === "0" ? 0 : 1));
      result.push(...lines.slice(next, start));
      next = start;
    } else if (line.startsWith("-")) next += 1;
    else if (line.startsWith("+")) result.push(line.slice(1));
    else if (line.startsWith(" ")) {
      result.push(line.slice(1));
      next += 1;
    }
  }
  return [...result, ...lines.slice(next)].join("\n");
}

test("equal versions do not differ", () => {
  const same = compare({ "hello.ts": "a\n" }, { "hello.ts": "a\n" });
  expect(same).toMatchObject({ changes: [], files: [], manifest: [] });
});

test("a patch turns the approved text into the current one, whatever they are", () => {
  const line = fc.constantFrom("a", "b", "", "+c", "-d", "@@ e", "\\ f", "--- a/hello.ts");
  const text = fc.array(line, { minLength: 1, maxLength: 12 }).map((lines) => `${lines.join("\n")}\n`);
  fc.assert(
    fc.property(text, text, (before, after) => {
      const [file] = compare({ "hello.ts": before }, { "hello.ts": after }).files;
      if (before === after) expect(file).toBeUndefined();
      else expect(applied(before, file?.patch ?? "")).toBe(after);
    }),
  );
});

test("added, removed and changed files are told apart, with the numbers of lines", () => {
  const { files } = compare(
    { "hello.ts": "a\nb\n", "old.ts": "x\n", "same.ts": "s" },
    { "hello.ts": "a\nc\nd\n", "new.ts": "y\n", "same.ts": "s" },
  );
  expect(files.map(({ path, change, added, removed }) => [path, change, added, removed])).toEqual([
    ["hello.ts", "changed", 2, 1],
    ["new.ts", "added", 1, 0],
    ["old.ts", "removed", 0, 1],
  ]);
});

test("a difference in nothing but the last newline is one", () => {
  const [file] = compare({ "hello.ts": "a\n" }, { "hello.ts": "a" }).files;
  expect(file?.patch).toEndWith("-a\n+a\n\\ No newline at end of file\n");
});

test("without the approved source, only the digests are known", () => {
  const [old, current] = [filesOf({ "hello.ts": "a\n" }), filesOf({ "hello.ts": "b\n" })];
  const { files } = compareVersions("hello.ts", pending, approvedOf(old), undefined, versionOf(current));
  expect(files).toEqual([
    {
      path: "hello.ts",
      change: "changed",
      before: sha256Hex("a\n"),
      after: sha256Hex("b\n"),
      patch: undefined,
      added: undefined,
      removed: undefined,
    },
  ]);
});

test("a new module is compared with nothing, and a removed one too", () => {
  const files = filesOf({ "hello.ts": "a\n" });
  const fresh = compareVersions(
    "hello.ts",
    pending,
    undefined,
    undefined,
    versionOf(files, { permissions: "all" }),
  );
  expect(fresh).toMatchObject({ changes: ["new"], manifest: [{ field: "permissions", lines: ["+all"] }] });
  expect(fresh.files).toMatchObject([{ change: "added", added: 1 }]);
  const gone = compareVersions("hello.ts", pending, approvedOf(files), files, undefined);
  expect(gone).toMatchObject({ changes: ["code"], files: [{ change: "removed", removed: 1 }] });
});

test("permissions, description and schema are compared line by line, also where the code is the same", () => {
  const files = filesOf({ "hello.ts": "a\n" });
  const before = approvedOf(files, {
    permissions: { read: ["/etc/hosts", "/srv"] },
    description: "Says hello",
    input: { type: "string" },
  });
  const after = versionOf(files, {
    permissions: { read: ["/srv"], connect: [443] },
    description: "Says hello ",
    input: { type: "number" },
  });
  const difference = compareVersions("hello.ts", pending, before, files, after);
  expect(difference.changes).toEqual(["permissions", "description", "schema"]);
  expect(difference.manifest).toEqual([
    { field: "permissions", lines: ["-read /etc/hosts", " read /srv", "+connect 443"] },
    { field: "description", lines: ["-Says hello", "+Says hello "] },
    { field: "schema", lines: [" {", '-  "type": "string"', '+  "type": "number"', " }"] },
  ]);
  expect(difference.files).toEqual([]);
});

test("what a plain server does not report is no change; what it leaves out of a verified module is", () => {
  const files = filesOf({ "hello.ts": "a\n" });
  const approved = approvedOf(files, { permissions: { run: ["git"] } });
  const { files: _, ...plain } = versionOf(files, { tree: undefined, permissions: undefined });
  expect(changesOf(approved, plain)).toEqual([]);
  expect(changesOf(approved, { ...plain, permissions: {} })).toEqual(["permissions"]);
  expect(changesOf(approved, { ...plain, sum: sha256Hex("b\n") })).toEqual(["code"]);
});
