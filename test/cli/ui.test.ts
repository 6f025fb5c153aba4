import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { evil, forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import { run } from "../helpers/processes.ts";

const ui = JSON.stringify(join(import.meta.dir, "../../src/cli/ui.ts"));

/** Runs a program in which `ui` is the file under test. */
const withUi = (code: string) => run([process.execPath, "-e", `import * as ui from ${ui};\n${code}`]);

describe("an uncaught error", () => {
  const error = `new Error(${JSON.stringify(evil)})`;
  test.each([
    ["an exception", `setTimeout(() => { throw ${error}; });`],
    ["a rejection", `setTimeout(() => void Promise.reject(${error}));`],
    ["an immediate rejection", `void Promise.reject(${error}); setTimeout(() => {}, 1000);`],
  ])("(%s) is reported, escaped, and ends the program with 1", async (_, code) => {
    for (const json of [false, true]) {
      const { exitCode, stdout, stderr } = await withUi(`ui.reportUncaught(() => ${json});\n${code}`);
      expect(exitCode).toBe(1);
      expect(json ? stdout : stderr).toContain("\\u001b[1A");
      expect(strayEscapes(stdout + stderr)).toEqual([]);
      expect(forgedVerdicts(stdout + stderr)).toEqual([]);
    }
  });
});
