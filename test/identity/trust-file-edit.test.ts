import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { withFileLock } from "../../src/identity/file-lock.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { addTrustedKey, parseTrustedKeys, removeTrustedKey } from "../../src/identity/trusted-keys.ts";
import { temporaryDirectory } from "./temporary.ts";

const key = (digit: number) => digit.toString(16).padStart(64, "0") as Fingerprint;

function trustFile(text?: string): string {
  const path = join(temporaryDirectory(), "trusted-keys.json");
  if (text !== undefined) writeFileSync(path, text);
  return path;
}

describe("editing trusted-keys.json", () => {
  test("adding twice changes once, and removing twice too", async () => {
    const path = trustFile("[]\n");
    expect(await addTrustedKey(path, key(1), { name: "one" })).toEqual({ changed: true });
    const text = readFileSync(path, "utf8");
    expect(text).toBe(`[\n  {"fingerprint":"${key(1)}","name":"one"}\n]\n`);
    expect(await addTrustedKey(path, key(1), { name: "other" })).toEqual({ changed: false });
    expect(readFileSync(path, "utf8")).toBe(text);
    expect(await removeTrustedKey(path, "one")).toEqual({ changed: true });
    expect(readFileSync(path, "utf8")).toBe("[]\n");
    expect(await removeTrustedKey(path, "one")).toEqual({ changed: false });
    expect(await removeTrustedKey(path, key(1))).toEqual({ changed: false });
  });

  test("a missing file is made when a key is trusted, and an error when one is removed", async () => {
    const path = trustFile();
    await expect(removeTrustedKey(path, key(1))).rejects.toThrow("it is not there");
    expect(await addTrustedKey(path, key(1))).toEqual({ changed: true });
    expect(parseTrustedKeys(readFileSync(path, "utf8")).size).toBe(1);
  });

  test("the entries of others keep their bytes and the file its layout, mode and symbolic link", async () => {
    const dir = temporaryDirectory();
    mkdirSync(join(dir, "real"));
    const [real, path] = [join(dir, "real", "keys.json"), join(dir, "trusted-keys.json")];
    const others = `[\n\t{ "fingerprint":  "${key(1)}",\n\t\t"name": "\\u0061" },\n\t"${key(2)}"`;
    writeFileSync(real, `${others}\n]`);
    chmodSync(real, 0o640);
    symlinkSync(real, path);
    await addTrustedKey(path, key(3));
    expect(readFileSync(real, "utf8")).toBe(`${others},\n\t"${key(3)}"\n]`);
    await removeTrustedKey(path, key(3));
    expect(readFileSync(real, "utf8")).toBe(`${others}\n]`);
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    if (process.platform !== "win32") expect(statSync(real).mode & 0o777).toBe(0o640);
    expect(readdirSync(join(dir, "real"))).toEqual(["keys.json"]);
  });

  test("any layout survives adding and removing, and what remains is what was meant", async () => {
    const space = fc.string({ unit: fc.constantFrom(" ", "\n", "\t"), maxLength: 2 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(space, space), { maxLength: 4 }),
        fc.nat(4),
        async (spaces, index) => {
          const elements = spaces.map(([before, after], number) => `${before}"${key(number)}"${after}`);
          const path = trustFile(`\n[${elements.join(",")}]\n`);
          await addTrustedKey(path, key(9), { name: "nine" });
          await removeTrustedKey(path, key(index));
          const left = [...parseTrustedKeys(readFileSync(path, "utf8"))].map(
            ({ fingerprint }) => fingerprint,
          );
          expect(left).toEqual([...spaces.keys(), 9].filter((number) => number !== index).map(key));
        },
      ),
      { numRuns: 30 },
    );
  });

  test("edits at the same time lose nothing", async () => {
    const path = trustFile("[]");
    const keys = Array.from({ length: 12 }, (_, number) => key(number));
    const results = await Promise.all(keys.map((fingerprint) => addTrustedKey(path, fingerprint)));
    expect(results.every(({ changed }) => changed)).toBe(true);
    expect(
      [...parseTrustedKeys(readFileSync(path, "utf8"))].map(({ fingerprint }) => fingerprint).sort(),
    ).toEqual(keys);
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test("a file that is broken before the edit, or would be after it, is left as it is", async () => {
    for (const text of ["[", `["${key(1)}", "${key(1)}"]`, "{}"]) {
      const path = trustFile(text);
      await expect(addTrustedKey(path, key(2))).rejects.toThrow("trusted-keys.json: ");
      await expect(removeTrustedKey(path, key(1))).rejects.toThrow("trusted-keys.json: ");
      expect(readFileSync(path, "utf8")).toBe(text);
    }
    const text = `[{"fingerprint":"${key(1)}","name":"one"}]`;
    const path = trustFile(text);
    await expect(addTrustedKey(path, key(2), { name: "one" })).rejects.toThrow(
      "[1].name: one is in [0] already",
    );
    await expect(addTrustedKey(path, key(2), { expires: "soon" })).rejects.toThrow("[1].expires: ");
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("a lock that was left behind is an error that names it and its holder", async () => {
    const path = trustFile("[]");
    writeFileSync(`${path}.lock`, "4711\n");
    await expect(withFileLock(path, async () => "never", 50)).rejects.toThrow(
      `process 4711 holds ${path}.lock`,
    );
    expect(readFileSync(`${path}.lock`, "utf8")).toBe("4711\n");
  });
});
