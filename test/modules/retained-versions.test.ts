import { expect, test } from "bun:test";
import type { RunnableVersion } from "../../src/modules/module-version.ts";
import { RetainedVersions } from "../../src/modules/retained-versions.ts";
import { FakeVersion } from "../helpers/fake-versions.ts";
import { sourceOf } from "../helpers/versions.ts";

async function versions(...contents: string[]): Promise<FakeVersion[]> {
  const sources = await Promise.all(contents.map((content) => sourceOf(content)));
  return sources.map((source) => new FakeVersion(source));
}

test("at the limit all versions are retained, one byte past it the oldest goes", async () => {
  const dropped: RunnableVersion[] = [];
  const retained = new RetainedVersions(30, (version) => dropped.push(version));
  const [a, b, c, d] = (await versions("// 7890123", "// 7890124", "// 7890125", "//")) as [
    FakeVersion,
    FakeVersion,
    FakeVersion,
    FakeVersion,
  ];
  for (const version of [a, b, c]) retained.add(version);
  expect(dropped).toEqual([]);
  retained.add(d);
  expect(dropped).toEqual([a]);
  // What was ended otherwise makes room, once.
  retained.delete(b);
  retained.delete(b);
  retained.add(a);
  expect(dropped).toEqual([a]);
});

test("a version that is larger than the limit is not retained, and characters count as UTF-8", async () => {
  const dropped: RunnableVersion[] = [];
  const retained = new RetainedVersions(8, (version) => dropped.push(version));
  const [large, small] = (await versions("// äöü", "// 456")) as [FakeVersion, FakeVersion];
  retained.add(large);
  expect(dropped).toEqual([large]);
  retained.add(small);
  expect(dropped).toEqual([large]);
});
