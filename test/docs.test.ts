import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = dirname(import.meta.dir);
const documents = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...new Bun.Glob("docs/*.md").scanSync(root),
];

/** The paths of this repository that a document names in backquotes, and those that it links to. */
function pathsIn(document: string, text: string): string[] {
  const prose = text.replaceAll(/^```.*?^```$/gms, "");
  const named = [...prose.matchAll(/`((?:src|test|docs)\/[\w./-]*)`/g)].map(([, path = ""]) => path);
  const linked = [...prose.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, path = ""]) =>
    join(dirname(document), path),
  );
  return [...named, ...linked];
}

const missingIn = (document: string, text: string) =>
  pathsIn(document, text).filter((path) => !existsSync(join(root, path)));

test.each(documents)("%s names only files that exist", (document) => {
  const text = readFileSync(join(root, document), "utf8");
  expect(missingIn(document, text)).toEqual([]);
});

test("a path that does not exist is found, in backquotes and in a link", () => {
  const text = "See `test/nothing.test.ts`, [this](gone.md#part) and `src/index.ts`.";
  expect(missingIn("docs/some.md", text)).toEqual(["test/nothing.test.ts", "docs/gone.md"]);
});

test("docs/internals.md and SECURITY.md name many files: the pattern above finds them", () => {
  for (const document of ["docs/internals.md", "SECURITY.md"]) {
    const text = readFileSync(join(root, document), "utf8");
    expect(pathsIn(document, text).length).toBeGreaterThan(25);
  }
});
