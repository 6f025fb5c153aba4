import { describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { sha256Hex } from "../../src/base/sha256.ts";
import { type Catalogue, formatCatalogue, parseCatalogue } from "../../src/catalogue/catalogue.ts";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const sum = sha256Hex("x");
const server = sha256Hex("server");
const whole = `# veripy catalogue 1
# name prod
# serial 42
# issued 2026-11-24T10:00:00Z
# expires 2027-11-24T10:00:00Z
# server ${server} server1.example:8443
${sum}  mods/hello.ts
${sum}  mods/lib/format.ts
${sum}  trusted-keys.json
`;

test("a catalogue is parsed, and formatted to the same text", () => {
  const catalogue = parseCatalogue(whole);
  expect(catalogue).toMatchObject({ name: "prod", serial: 42, expires: "2027-11-24T10:00:00Z" });
  expect(catalogue.servers).toEqual([{ fingerprint: server, address: "server1.example:8443" }]);
  expect([...catalogue.files.keys()]).toEqual(["mods/hello.ts", "mods/lib/format.ts", "trusted-keys.json"]);
  expect(formatCatalogue(catalogue)).toBe(whole);
});

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/);
const step = fc.stringMatching(/^[a-z0-9é _-]{1,8}$/).filter((one) => one.trim() === one && one !== "");
const path = fc.array(step, { minLength: 1, maxLength: 3 }).map((steps) => `mods/${steps.join("/")}.ts`);

test("what is formatted can be parsed back, whatever it is", () => {
  fc.assert(
    fc.property(
      name,
      fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      fc.uniqueArray(path, { maxLength: 20 }),
      fc.boolean(),
      (name, serial, paths, hasExpiry) => {
        const catalogue: Catalogue = {
          name,
          serial,
          issued: "2026-11-24T10:00:00Z",
          expires: hasExpiry ? "2027-01-01T00:00:00Z" : undefined,
          servers: [],
          files: new Map(paths.map((one) => [one, sha256Hex(one)])),
        };
        const text = formatCatalogue(catalogue);
        const parsed = parseCatalogue(text);
        expect(formatCatalogue(parsed)).toBe(text);
        expect(new Map([...parsed.files].sort())).toEqual(new Map([...catalogue.files].sort()));
      },
    ),
  );
});

test("one changed character gives an error, or another catalogue: never the same one", () => {
  fc.assert(
    fc.property(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 0, max: 127 }), (at, code) => {
      const tampered = whole.slice(0, at) + String.fromCharCode(code) + whole.slice(at + 1);
      fc.pre(tampered !== whole);
      let parsed: Catalogue;
      try {
        parsed = parseCatalogue(tampered);
      } catch (error) {
        expect(error).toMatchObject({ code: "bad_config" });
        expect(String(error)).toMatch(/line \d+/);
        return;
      }
      expect(formatCatalogue(parsed)).not.toBe(whole);
    }),
    { numRuns: 2_000 },
  );
});

describe("is refused, with the line:", () => {
  test.each([
    ["an empty file", "", 1],
    ["another version", whole.replace("catalogue 1", "catalogue 2"), 1],
    ["CR LF", whole.replaceAll("\n", "\r\n"), 1],
    ["no line break at the end", whole.slice(0, -1), 9],
    ["a header twice", whole.replace("# serial 42", "# serial 42\n# serial 43"), 4],
    ["an unknown header", whole.replace("# serial 42", "# serial 42\n# colour red"), 4],
    ["a missing header", whole.replace("# name prod\n", ""), 8],
    ["headers in another order", whole.replace("# name prod\n# serial 42", "# serial 42\n# name prod"), 3],
    ["a header below a file", `${whole}# name other\n`, 10],
    ["a serial beyond 2^53", whole.replace("serial 42", "serial 9007199254740992"), 3],
    ["a serial of 0", whole.replace("serial 42", "serial 0"), 3],
    ["a serial with zeros before it", whole.replace("serial 42", "serial 042"), 3],
    ["a day that does not exist", whole.replace("2026-11-24", "2026-02-30"), 4],
    ["a path that leaves the folder", whole.replace("mods/hello.ts", "mods/../hello.ts"), 7],
    ["an absolute path", whole.replace("mods/hello.ts", "/etc/passwd"), 7],
    ["a path elsewhere", whole.replace("mods/hello.ts", "certs/server.key"), 7],
    ["a path with a backslash", whole.replace("mods/hello.ts", "mods\\\\hello.ts"), 7],
    ["a path listed twice", whole.replace("mods/lib/format.ts", "mods/hello.ts"), 8],
    ["a short sum", whole.replace(`${sum}  mods/hello.ts`, `${sum.slice(1)}  mods/hello.ts`), 7],
    ["a sum in capitals", whole.replace(`${sum}  mods/hello.ts`, `${sum.toUpperCase()}  mods/hello.ts`), 7],
    ["binary mode", whole.replace("  mods/hello.ts", " *mods/hello.ts"), 7],
    ["an empty line", whole.replace("# name", "\n# name"), 2],
    ["a server twice", whole.replace("# server", `# server ${server} a:1\n# server`), 7],
    ["a server without a port", whole.replace("server1.example:8443", "server1.example"), 6],
    ["a name with a colon", whole.replace("name prod", "name a:b"), 2],
  ])("%s", (_, text, line) => {
    expect(() => parseCatalogue(text)).toThrow(`line ${line}:`);
  });

  test("100,000 lines", () => {
    const many = Array.from({ length: 100_000 }, (_, index) => `${sum}  mods/${index}.ts\n`).join("");
    expect(() => parseCatalogue(whole + many)).toThrow(/more than (50000 files|8388608 bytes)/);
  });
});

test("sha256sum checks the files of a catalogue", async () => {
  await using directory = await temporaryDirectory();
  await mkdir(join(directory.path, "mods"));
  await Bun.write(join(directory.path, "mods/hello.ts"), "hello");
  const files = new Map([["mods/hello.ts", sha256Hex("hello")]]);
  const header = { name: "prod", serial: 1, issued: "2026-11-24T10:00:00Z", expires: undefined, servers: [] };
  await Bun.write(join(directory.path, "veripy.catalogue"), formatCatalogue({ ...header, files }));
  const check = () => run(["sha256sum", "--strict", "-c", "veripy.catalogue"], { cwd: directory.path });
  expect((await check()).exitCode).toBe(0);
  await Bun.write(join(directory.path, "mods/hello.ts"), "hallo");
  expect((await check()).exitCode).toBe(1);
});
