import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parseFingerprint } from "../../src/identity/fingerprint.ts";
import { parseRevokedKeys, readRevokedKeys } from "../../src/trust/revoked-keys.ts";
import { readTrustedKeys, revokeTrustedKey, trustKey } from "../../src/trust/trusted-keys.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const [alice, next, bob] = ["a", "b", "c"].map((digit) => parseFingerprint(digit.repeat(64))) as [
  ReturnType<typeof parseFingerprint>,
  ReturnType<typeof parseFingerprint>,
  ReturnType<typeof parseFingerprint>,
];

describe("revoked-keys.json", () => {
  test("takes a key and its next key away, and leaves the trust file as it is", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "trusted-keys.json");
    const text = JSON.stringify({ trusted_fingerprints: [{ fingerprint: alice, name: "alice", next }, bob] });
    await Bun.write(path, text);
    expect((await readTrustedKeys(path)).lookup(alice)?.name).toBe("alice");
    expect(await revokeTrustedKey(path, "alice")).toEqual({ changed: true });
    expect(await revokeTrustedKey(path, "alice")).toEqual({ changed: false });
    expect(await readRevokedKeys(path)).toEqual(new Set([alice, next]));
    const keys = await readTrustedKeys(path);
    expect([alice, next, bob].map((key) => keys.lookup(key)?.fingerprint)).toEqual([
      undefined,
      undefined,
      bob,
    ]);
    expect(await Bun.file(path).text()).toBe(text);
    expect(trustKey(path, alice)).rejects.toThrow("revoked-keys.json revokes it");
  });

  test("takes a key even when the trust file is broken, but not an unknown name", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "trusted-keys.json");
    await Bun.write(path, '{"trusted_fingerprints": []}');
    expect(revokeTrustedKey(path, "alice")).rejects.toThrow("no entry with that name");
    await Bun.write(path, "{");
    expect(await revokeTrustedKey(path, bob)).toEqual({ changed: true });
  });

  test.each([
    ["{", "line 1"],
    ['{"revoked_fingerprints": ["x"]}', "revoked_fingerprints[0]"],
    ['{"revoked_fingerprints": [], "more": 1}', "the keys are revoked_fingerprints"],
    ["{}", "revoked_fingerprints"],
  ])("with %p is an error that names the place", (text, place) => {
    expect(() => parseRevokedKeys(text, "revoked-keys.json")).toThrow(place);
  });
});
