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
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import {
  addTrustedKey,
  parseTrustedKeys,
  removeTrustedKey,
  type TrustedKeyChanges,
  type TrustedKeyFields,
  trustKey,
} from "../../src/trust/trusted-keys.ts";
import { trustText } from "../helpers/keys.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const key = (digit: number) => digit.toString(16).padStart(64, "0") as Fingerprint;

function trustFile(text?: string): string {
  const path = join(temporaryDirectory(), "trusted-keys.json");
  if (text !== undefined) writeFileSync(path, text);
  return path;
}

const list = (inside: string) => `{\n  "trusted_fingerprints": [${inside}]\n}\n`;

describe("editing trusted-keys.json", () => {
  test("adding twice changes once, and removing twice too", async () => {
    const path = trustFile(list(""));
    expect(await addTrustedKey(path, key(1), { name: "one" })).toEqual({ changed: true });
    const text = readFileSync(path, "utf8");
    expect(text).toBe(list(`\n    {"fingerprint":"${key(1)}","name":"one"}\n  `));
    expect(await addTrustedKey(path, key(1), { name: "one" })).toEqual({ changed: false });
    expect(await addTrustedKey(path, key(1))).toEqual({ changed: false });
    expect(readFileSync(path, "utf8")).toBe(text);
    expect(await removeTrustedKey(path, "one")).toEqual({ changed: true });
    expect(readFileSync(path, "utf8")).toBe(list(""));
    expect(await removeTrustedKey(path, "one")).toEqual({ changed: false });
    expect(await removeTrustedKey(path, key(1))).toEqual({ changed: false });
  });

  test("a key without any fields is written as its fingerprint alone, also into the shortest form", async () => {
    const path = trustFile('{"trusted_fingerprints": []}');
    await addTrustedKey(path, key(1));
    expect(readFileSync(path, "utf8")).toBe(`{"trusted_fingerprints": [\n  "${key(1)}"\n]}`);
    await addTrustedKey(path, key(2), { expires: "2100-01-01" });
    expect(readFileSync(path, "utf8")).toBe(
      `{"trusted_fingerprints": [\n  "${key(1)}",\n  {"fingerprint":"${key(2)}","expires":"2100-01-01"}\n]}`,
    );
  });

  test("trusting a key again changes the given fields of its entry, and not a byte of the others", async () => {
    const others = `  "${key(1)}",\n\n  { "name":"carol",\t"fingerprint": "${key(3)}" },`;
    const textWith = (entry: string) => `{ "trusted_fingerprints":\n[\n${others}\n  ${entry}\n]}\n`;
    const path = trustFile(textWith(`{"fingerprint": "${key(2)}", "name": "bob", "modules": ["a.ts"]}`));
    const steps: [TrustedKeyChanges, object][] = [
      [{ name: "rob" }, { name: "rob", modules: ["a.ts"] }],
      [{ expires: "2100-01-01" }, { name: "rob", modules: ["a.ts"], expires: "2100-01-01" }],
      [
        { modules: ["b-*.ts"], expires: null },
        { name: "rob", modules: ["b-*.ts"] },
      ],
    ];
    for (const [changes, fields] of steps) {
      expect(await trustKey(path, key(2), changes)).toEqual({ changed: true, added: false });
      expect(readFileSync(path, "utf8")).toBe(textWith(JSON.stringify({ fingerprint: key(2), ...fields })));
      expect(await trustKey(path, key(2), changes)).toEqual({ changed: false, added: false });
    }
    await trustKey(path, key(1), { name: "one" });
    expect(readFileSync(path, "utf8")).toContain(
      `[\n  {"fingerprint":"${key(1)}","name":"one"},\n\n  { "name"`,
    );
    expect(await trustKey(path, key(4))).toEqual({ changed: true, added: true });
    expect(readFileSync(path, "utf8")).toContain(`\n  "${key(4)}"\n]}`);
  });

  test("a key is not trusted with fields that the file may not have, nor under another key's name", async () => {
    const text = trustText({ fingerprint: key(1), name: "one" }, key(2));
    const path = trustFile(text);
    const refusals: [TrustedKeyChanges, string][] = [
      [{ name: "one" }, `the key ${key(1)} already has it`],
      [{ name: "a\nb" }, "name: must consist of printable"],
      [{ modules: ["ok.ts", ""] }, "modules[1]: must not be empty"],
      [{ actions: ["fly" as "exec"] }, "actions[0]: must be 'sync', 'verify' or 'exec'"],
      [{ from: ["10.0.0/8"] }, "from: '10.0.0/8' is not an address range"],
      [{ expires: "2027-02-30" }, "expires: must be a date"],
      [{ max_connections: 0 }, "max_connections: must be a whole number from 1"],
    ];
    for (const fingerprint of [key(2), key(3)]) {
      for (const [changes, why] of refusals)
        await expect(trustKey(path, fingerprint, changes)).rejects.toThrow(why);
    }
    expect(readFileSync(path, "utf8")).toBe(text);
    await expect(trustKey(trustFile(), key(1))).rejects.toThrow("Run 'veripy-server init' to create one");
    // Its own name is no other key's.
    expect(await trustKey(path, key(1), { name: "one", max_connections: 2 })).toMatchObject({
      changed: true,
    });
  });

  test("a key that must be there to be removed, and is not, is an error that says what is", async () => {
    const path = trustFile(trustText({ fingerprint: key(1), name: "alice" }, key(2)));
    const refused = (who: string) => expect(removeTrustedKey(path, who, { mustBeThere: true })).rejects;
    await refused("alcie").toThrow("Did you mean 'alice'?");
    await refused(key(2).slice(0, 16)).toThrow("Did you mean");
    await refused("somebody else").toThrow(`It contains: alice, ${key(2)}.`);
    expect(await removeTrustedKey(path, "alice", { mustBeThere: true })).toEqual({ changed: true });
    expect(await removeTrustedKey(path, key(2), { mustBeThere: true })).toEqual({ changed: true });
    await refused("alice").toThrow("The file trusts no keys.");
  });

  test("a key that is there with other fields is an error that names its entry", async () => {
    const entries = [key(1), { fingerprint: key(2), name: "two", modules: ["a.ts"] }];
    const text = trustText(...entries);
    const path = trustFile(text);
    const refusals: [Fingerprint, TrustedKeyFields, string][] = [
      [key(1), { name: "one" }, "trusted_fingerprints[0] already has this key, with another value for name"],
      [
        key(2),
        { name: "three" },
        "trusted_fingerprints[1] ('two') already has this key, with another value for name",
      ],
      [key(2), { name: "two", modules: ["b.ts"] }, "another value for modules"],
      [key(2), { actions: ["sync"], max_connections: 1 }, "another value for actions, max_connections"],
    ];
    for (const [fingerprint, fields, message] of refusals) {
      await expect(addTrustedKey(path, fingerprint, fields)).rejects.toThrow(message);
    }
    expect(await addTrustedKey(path, key(2), { name: "two", modules: ["a.ts"] })).toEqual({ changed: false });
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("a key that is to follow another one cannot be trusted beside it, whatever is asked for", async () => {
    const text = trustText({ fingerprint: key(1), name: "one", next: key(2) });
    const path = trustFile(text);
    for (const fields of [{}, { name: "one" }, { name: "two" }]) {
      await expect(addTrustedKey(path, key(2), fields)).rejects.toThrow(
        `it is the next key of trusted_fingerprints[0] ('one'). Remove that entry first: veripy-server untrust ${key(1)}`,
      );
    }
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("a missing file is made when a key is trusted, and an error when one is removed", async () => {
    const path = trustFile();
    await expect(removeTrustedKey(path, key(1))).rejects.toThrow("it does not exist");
    expect(await addTrustedKey(path, key(1))).toEqual({ changed: true });
    expect(readFileSync(path, "utf8")).toBe(list(`\n    "${key(1)}"\n  `));
  });

  test("the entries of others keep their bytes and the file its layout, mode and symbolic link", async () => {
    const dir = temporaryDirectory();
    mkdirSync(join(dir, "real"));
    const [real, path] = [join(dir, "real", "keys.json"), join(dir, "trusted-keys.json")];
    const others = `{ "trusted_fingerprints" :\n[\n\t{ "fingerprint":  "${key(1)}",\n\t\t"name": "\\u0061", "modules": ["[", "]"] },\n\t"${key(2)}"`;
    writeFileSync(real, `${others}\n]\n\n}`);
    chmodSync(real, 0o640);
    symlinkSync(real, path);
    await addTrustedKey(path, key(3));
    expect(readFileSync(real, "utf8")).toBe(`${others},\n\t"${key(3)}"\n]\n\n}`);
    await removeTrustedKey(path, key(3));
    expect(readFileSync(real, "utf8")).toBe(`${others}\n]\n\n}`);
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    if (process.platform !== "win32") expect(statSync(real).mode & 0o777).toBe(0o640);
    expect(readdirSync(join(dir, "real"))).toEqual(["keys.json"]);
  });

  test("any layout survives adding and removing, and what remains is what was meant", async () => {
    const space = fc.string({ unit: fc.constantFrom(" ", "\n", "\t"), maxLength: 2 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(space, space), { maxLength: 4 }),
        fc.tuple(space, space, space, space),
        fc.nat(4),
        async (spaces, [one, two, three, four], index) => {
          const elements = spaces.map(([before, after], number) => `${before}"${key(number)}"${after}`);
          const inside = `"trusted_fingerprints"${two}:${three}[${elements.join(",")}]`;
          const path = trustFile(`\n{${one}${inside}${four}}\n`);
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
    const path = trustFile(trustText());
    const keys = Array.from({ length: 12 }, (_, number) => key(number));
    const results = await Promise.all(keys.map((fingerprint) => addTrustedKey(path, fingerprint)));
    expect(results.every(({ changed }) => changed)).toBe(true);
    expect(
      [...parseTrustedKeys(readFileSync(path, "utf8"))].map(({ fingerprint }) => fingerprint).sort(),
    ).toEqual(keys);
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test("a file that is broken before the edit, or would be after it, is left as it is", async () => {
    for (const text of ["{", trustText(key(1), key(1)), "{}", `["${key(1)}"]`]) {
      const path = trustFile(text);
      await expect(addTrustedKey(path, key(2))).rejects.toThrow("trusted-keys.json: ");
      await expect(removeTrustedKey(path, key(1))).rejects.toThrow("trusted-keys.json: ");
      expect(readFileSync(path, "utf8")).toBe(text);
    }
    const text = trustText({ fingerprint: key(1), name: "one" });
    const path = trustFile(text);
    await expect(addTrustedKey(path, key(2), { name: "one" })).rejects.toThrow(
      "trusted_fingerprints[1].name: one is already in trusted_fingerprints[0]",
    );
    await expect(addTrustedKey(path, key(2), { expires: "soon" })).rejects.toThrow(
      "trusted_fingerprints[1].expires: ",
    );
    expect(readFileSync(path, "utf8")).toBe(text);
  });
});
