import { expect, test } from "bun:test";
import { answerOf, Caller, Editor, type Files, KnownVersions } from "../helpers/reloads.ts";
import { Site } from "../helpers/site.ts";

const callerCount = 16;
const editModule = (files: Files, number: number): Files => ({
  ...files,
  "m.ts": `export const execute = () => "${answerOf(number)}";\n`,
});
const importing: Files = {
  "m.ts": `import { answer } from "./lib/answer.ts";\nexport const execute = () => answer;\n`,
  "lib/answer.ts": "",
};
const editImported = (files: Files, number: number): Files => ({
  ...files,
  "lib/answer.ts": `export const answer = "${answerOf(number)}";\n`,
});

test.each([
  ["a module", 200, {}, editModule, "m.ts"],
  ["an imported file", 50, importing, editImported, "lib/answer.ts"],
] as const)(
  "while 16 clients call without pause and %s is edited %d times, every answer is of exactly one version",
  async (_what, edits, base, edit, path) => {
    const versions = new KnownVersions();
    let files: Files = edit(base, 0);
    versions.add(files, 0);
    await using site = await Site.create(files);
    await site.start();
    const calling = await Promise.all(
      Array.from({ length: callerCount }, () => Caller.start(site, "m.ts", versions)),
    );
    const editor = await Editor.start(site, "m.ts");
    const begunAt = performance.now();
    for (let number = 1; number <= edits; number++) {
      files = edit(files, number);
      const tree = versions.add(files, number);
      await editor.write(path, files[path] ?? "", tree, number % 2 === 0 ? "in place" : "by rename");
    }
    const tookMs = performance.now() - begunAt;
    editor.close();
    await Promise.all(calling.map((caller) => caller.stop()));
    const calls = calling.reduce((sum, caller) => sum + caller.calls, 0);
    const worstMs = Math.max(...calling.map((caller) => caller.worstMs));
    console.log(
      `${edits} reloads, ${(tookMs / edits).toFixed(1)} ms each, under ${calls} calls; the slowest answer took ${worstMs.toFixed(0)} ms.`,
    );
    for (const caller of calling) expect(caller.newest).toBeGreaterThan(edits - 5);
  },
  60_000,
);
