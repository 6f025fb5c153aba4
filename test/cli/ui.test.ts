import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { evil, forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import { run } from "../helpers/processes.ts";

const ui = JSON.stringify(join(import.meta.dir, "../../src/cli/ui.ts"));

/** Runs a program that has the door to the terminal at hand. */
const withDoor = (code: string) => run([process.execPath, "-e", `import * as ui from ${ui};\n${code}`]);

describe("what nothing caught", () => {
  const error = `new Error(${JSON.stringify(evil)})`;
  test.each([
    ["an exception", `setTimeout(() => { throw ${error}; });`],
    ["a rejection", `setTimeout(() => void Promise.reject(${error}));`],
    ["a rejection at once", `void Promise.reject(${error}); setTimeout(() => {}, 1000);`],
  ])("%s, is reported, escaped, and ends the program with 1", async (_, code) => {
    for (const json of [false, true]) {
      const { exitCode, stdout, stderr } = await withDoor(`ui.reportUncaught(() => ${json});\n${code}`);
      expect(exitCode).toBe(1);
      expect(json ? stdout : stderr).toContain("\\u001b[1A");
      expect(strayEscapes(stdout + stderr)).toEqual([]);
      expect(forgedVerdicts(stdout + stderr)).toEqual([]);
    }
  });
});
