import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { matchesName } from "../../src/trust/name-pattern.ts";
import { actions, type Grant, parseTrustedKeys, readTrustedKeys } from "../../src/trust/trusted-keys.ts";
import { trustText } from "../helpers/keys.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const alice = "a".repeat(64) as Fingerprint;
const bob = "b".repeat(64) as Fingerprint;

/** The grant of the one entry of a file. */
function grantOf(fields: Record<string, unknown>): Grant {
  const grant = parseTrustedKeys(trustText({ fingerprint: alice, ...fields })).lookup(alice);
  if (grant === undefined) throw new Error("the entry has no grant");
  return grant;
}

describe("trusted-keys.json", () => {
  test("an empty list trusts nobody", () => {
    const keys = parseTrustedKeys('{"trusted_fingerprints": []}\n');
    expect(keys.size).toBe(0);
    expect(keys.grantFor(alice, "127.0.0.1")).toBeUndefined();
    expect(keys.verdict(alice, "127.0.0.1")).toBe("untrusted");
  });

  test("a bare fingerprint may do everything, in any of its forms", () => {
    const keys = parseTrustedKeys(`{"trusted_fingerprints": ["SHA256:${alice.toUpperCase()}"]}`);
    const grant = keys.grantFor(alice, "203.0.113.9");
    expect(actions.every((action) => grant?.mayAct(action))).toBe(true);
    expect(grant?.maySee("anything.ts")).toBe(true);
    expect(grant?.name).toBeUndefined();
    expect(grant?.maxConnections).toBeUndefined();
    expect(keys.grantFor(bob, "203.0.113.9")).toBeUndefined();
  });

  test("an entry with all fields keeps them all", () => {
    const grant = grantOf({
      name: "Alice's laptop",
      modules: ["deploy.ts", "db-*.ts"],
      actions: ["sync", "verify"],
      from: ["10.0.0.0/8"],
      expires: "2099-01-31T18:00:00+02:00",
      max_connections: 3,
    });
    expect(grant.name).toBe("Alice's laptop");
    expect(grant.maxConnections).toBe(3);
    expect(grant.expiresAt).toBe(Date.UTC(2099, 0, 31, 16));
    expect(["deploy.ts", "db-x.ts", "hello.ts"].map((mod) => grant.maySee(mod))).toEqual([true, true, false]);
    expect(actions.map((action) => grant.mayAct(action))).toEqual([true, true, false]);
  });

  test("an empty list of modules, actions or addresses allows none", () => {
    expect(grantOf({ modules: [] }).maySee("hello.ts")).toBe(false);
    expect(actions.some((action) => grantOf({ actions: [] }).mayAct(action))).toBe(false);
    expect(grantOf({ from: [] }).mayComeFrom("127.0.0.1")).toBe(false);
  });

  test("an entry ends at the moment it names, a date alone at its first moment in UTC", () => {
    const text = trustText({ fingerprint: alice, expires: "2027-01-31" });
    const keys = parseTrustedKeys(text);
    const end = Date.UTC(2027, 0, 31);
    expect(keys.verdict(alice, "::1", end - 1)).toBe("trusted");
    expect(keys.verdict(alice, "::1", end)).toBe("expired");
    expect(keys.grantFor(alice, "::1", end)).toBeUndefined();
    expect([keys.countExpired(end - 1), keys.countExpired(end)]).toEqual([0, 1]);
  });

  test.each([
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["10.0.0.0/8", "::ffff:11.1.2.3", false],
    ["192.0.2.7", "192.0.2.7", true],
    ["192.0.2.7", "192.0.2.8", false],
    ["0.0.0.0/0", "198.51.100.1", true],
    ["0.0.0.0/0", "2001:db8::1", false],
    ["2001:db8::/32", "2001:db8:ffff::1", true],
    ["2001:db8::/32", "2001:db9::1", false],
    ["::1", "::1", true],
    ["fe80::/10", "fe80::1%eth0", true],
    ["10.0.0.0/8", "not an address", false],
  ])("from %s, %s may come: %p", (range, address, expected) => {
    expect(grantOf({ from: [range] }).mayComeFrom(address)).toBe(expected);
  });

  test.each([
    ["", "line 1, column 1"],
    ["[]", 'must be an object like {"trusted_fingerprints": ["3f0c…"]}, not a bare array'],
    [`["${alice}"]`, 'must be an object like {"trusted_fingerprints": ["3f0c…"]}, not a bare array'],
    ["null", 'must be an object like {"trusted_fingerprints": ["3f0c…"]}'],
    ["{}", "trusted_fingerprints: the key is missing"],
    ['{"trusted_keys": []}', 'unknown key "trusted_keys"'],
    ['{"trusted_fingerprints": [], "admins": []}', 'unknown key "admins"'],
    ['{"trusted_fingerprints": {}}', "trusted_fingerprints: must be a list"],
    ['{"trusted_fingerprints": null}', "trusted_fingerprints: must be a list"],
    ['{"trusted_fingerprints": [],\n "trusted_fingerprints": []}', "line 2, column 2: duplicate key"],
  ])("%j is refused, and the right form is shown", (text, message) => {
    expect(() => parseTrustedKeys(text)).toThrow(VeripyError);
    expect(() => parseTrustedKeys(text)).toThrow(`trusted-keys.json: ${message}`);
  });

  test.each([
    ["[1]", "trusted_fingerprints[0]: "],
    ["[null]", "trusted_fingerprints[0]: "],
    ["[[]]", "trusted_fingerprints[0]: "],
    ['["abc"]', "trusted_fingerprints[0]: Cannot read 'abc' as a fingerprint"],
    [`["${alice}",]`, "line 1, column 94"],
    [
      `["${alice}", "${alice.toUpperCase()}"]`,
      `trusted_fingerprints[1]: ${alice} is already in trusted_fingerprints[0]`,
    ],
    [
      `["${alice}", {"fingerprint": "${alice}"}]`,
      `trusted_fingerprints[1].fingerprint: ${alice} is already in`,
    ],
    [`[{"fingerprint": "${alice}", "fingerprint": "${bob}"}]`, 'duplicate key "fingerprint"'],
    [
      `[{"fingerprint": "${alice}", "name": "x"}, {"fingerprint": "${bob}", "name": "x"}]`,
      "trusted_fingerprints[1].name: x is already in trusted_fingerprints[0]",
    ],
    [`[{"name": "x"}]`, "trusted_fingerprints[0].fingerprint: "],
  ])("the entries %j are refused with their place", (list, message) => {
    const text = `{"trusted_fingerprints": ${list}}`;
    expect(() => parseTrustedKeys(text)).toThrow(VeripyError);
    expect(() => parseTrustedKeys(text)).toThrow(message);
    expect(() => parseTrustedKeys(text)).toThrow("trusted-keys.json: ");
  });

  test.each([
    [{ form: ["10.0.0.0/8"] }, "trusted_fingerprints[0]: has the unknown key 'form'"],
    [{ __proto__x: 1 }, "has the unknown key"],
    [{ name: "" }, "trusted_fingerprints[0].name: "],
    [{ name: " x" }, "trusted_fingerprints[0].name: "],
    [{ name: "a\nb" }, "trusted_fingerprints[0].name: "],
    [{ name: "a\u202eb" }, "trusted_fingerprints[0].name: "],
    [{ name: "x".repeat(65) }, "trusted_fingerprints[0].name: must have at most 64"],
    [{ name: bob }, "trusted_fingerprints[0].name: must not look like a fingerprint"],
    [{ modules: "*" }, "trusted_fingerprints[0].modules: "],
    [{ modules: ["a.ts", ""] }, "trusted_fingerprints[0].modules[1]: "],
    [{ actions: ["run"] }, "trusted_fingerprints[0].actions[0]: "],
    [
      { from: ["10.0.0.0/33"] },
      "trusted_fingerprints[0].from: '10.0.0.0/33' must have a number from 0 to 32",
    ],
    [{ from: ["::/129"] }, "0 to 128"],
    [{ from: ["example.org"] }, "is not an address range"],
    [{ from: ["10.0.0.0/8/8"] }, "is not an address range"],
    [{ from: ["10.0.0.0/-1"] }, "0 to 32"],
    [{ from: ["10.0.0.0/"] }, "0 to 32"],
    [{ from: "10.0.0.0/8" }, "trusted_fingerprints[0].from: "],
    [{ expires: "tomorrow" }, "trusted_fingerprints[0].expires: must be a date"],
    [{ expires: "2027-02-30" }, "trusted_fingerprints[0].expires: "],
    [{ expires: "2027-01-31T18:00:00" }, "trusted_fingerprints[0].expires: "],
    [{ expires: 1_800_000_000 }, "trusted_fingerprints[0].expires: "],
    [{ max_connections: 0 }, "trusted_fingerprints[0].max_connections: "],
    [{ max_connections: 1.5 }, "trusted_fingerprints[0].max_connections: "],
    [{ max_connections: "3" }, "trusted_fingerprints[0].max_connections: "],
    [{ name: null }, "trusted_fingerprints[0].name: "],
  ])("an entry with %j is refused with its path", (fields, message) => {
    const text = trustText({ fingerprint: alice, ...fields });
    expect(() => parseTrustedKeys(text)).toThrow(VeripyError);
    expect(() => parseTrustedKeys(text)).toThrow(message);
  });

  test("a missing file, one that is no text, and a broken one are three clear errors", async () => {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    await expect(readTrustedKeys(path)).rejects.toThrow(
      "it does not exist. 'veripy-server init' creates one",
    );
    writeFileSync(path, Buffer.from([0x5b, 0xff, 0x5d]));
    await expect(readTrustedKeys(path)).rejects.toThrow("not UTF-8");
    writeFileSync(path, trustText({ name: "x" }));
    await expect(readTrustedKeys(path)).rejects.toThrow("trusted-keys.json: trusted_fingerprints[0].fing");
  });
});

describe("name patterns", () => {
  test.each([
    ["*", "hello.ts", true],
    ["*", "", true],
    ["hello.ts", "hello.ts", true],
    ["hello.ts", "hello.tsx", false],
    ["hello.ts", "xhello.ts", false],
    ["hello.ts", "helloxts", false],
    ["Hello.ts", "hello.ts", false],
    ["db-*.ts", "db-.ts", true],
    ["db-*.ts", "db-a.b.ts", true],
    ["db-*.ts", "db.ts", false],
    ["?.ts", "a.ts", true],
    ["?.ts", ".ts", false],
    ["?.ts", "ab.ts", false],
    ["*a*b", "xaxb", true],
    ["*a*b", "xbxa", false],
    ["[ab].ts", "a.ts", false],
  ])("%s and %s: %p", (pattern, name, expected) => {
    expect(matchesName(pattern, name)).toBe(expected);
  });

  test("they mean what the same regular expression means", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 8 });
    const names = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 8 });
    fc.assert(
      fc.property(letters, names, (pattern, name) => {
        const expression = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
        expect(matchesName(pattern, name)).toBe(expression.test(name));
      }),
      { numRuns: 1_000 },
    );
  });

  test("many stars do not take exponential time", () => {
    const started = performance.now();
    expect(matchesName("*a".repeat(100), `${"a".repeat(250)}b`)).toBe(false);
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
