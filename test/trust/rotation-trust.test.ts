import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VeripyError } from "../../src/base/errors.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { loadOrCreateIdentity } from "../../src/identity/identity.ts";
import { nextKeyOf, signRotation } from "../../src/identity/rotation-statement.ts";
import { resolveServerPin } from "../../src/trust/known-servers.ts";
import { dropOldServerKeys, listKnownServers, pinNextServerKey } from "../../src/trust/server-pins.ts";
import {
  addTrustedKey,
  confirmNextKey,
  parseTrustedKeys,
  removeTrustedKey,
  setNextKey,
} from "../../src/trust/trusted-keys.ts";
import { newIdentity, trustText } from "../helpers/keys.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const key = (digit: number) => digit.toString(16).padStart(64, "0") as Fingerprint;

describe("an announcement of a next key", () => {
  test("counts for the key that it comes from, and for no other", async () => {
    const [old, other] = [await newIdentity(), await newIdentity()];
    const next = await newIdentity();
    const signed = signRotation(old.keyPem, next.keyPem);
    expect(nextKeyOf(signed, old.fingerprint)).toBe(next.fingerprint);
    expect(() => nextKeyOf(signed, other.fingerprint)).toThrow("it is for the key");
    // Somebody else's word, with the old key's name on it.
    const forged = { ...signRotation(other.keyPem, next.keyPem), old: old.fingerprint };
    expect(() => nextKeyOf(forged, old.fingerprint)).toThrow("not signed by the old key");
    expect(() => nextKeyOf(signed, old.fingerprint, Date.now() + 2 * 86_400_000)).toThrow("issued at");
    expect(() => nextKeyOf("garbage", old.fingerprint)).toThrow(VeripyError);
  });
});

describe("a trusted key that is rotated", () => {
  const alice = { fingerprint: key(1), name: "alice", modules: ["a.ts"] };
  const others = `{"trusted_fingerprints": [\n\t"${key(2)}" ,\n  `;

  function trustFile(entry: unknown = alice): string {
    const path = join(temporaryDirectory(), "trusted-keys.json");
    writeFileSync(path, `${others}${JSON.stringify(entry)}\n]}\n`);
    return path;
  }
  const read = (path: string) => parseTrustedKeys(readFileSync(path, "utf8"));

  test("is trusted as both keys with one grant, then as the new one alone", async () => {
    const path = trustFile();
    expect(await setNextKey(path, key(1), key(9))).toEqual({ changed: true });
    expect(await setNextKey(path, key(1), key(9))).toEqual({ changed: false });
    const during = read(path);
    expect(during.size).toBe(2);
    expect(during.lookup(key(9))).toBe(during.lookup(key(1)));
    expect(during.verdict(key(9), "127.0.0.1")).toBe("trusted");
    expect([during.lookup(key(9))?.maySee("a.ts"), during.lookup(key(9))?.maySee("b.ts")]).toEqual([
      true,
      false,
    ]);

    expect(await confirmNextKey(path, key(9))).toEqual({ changed: true });
    expect(await confirmNextKey(path, key(9))).toEqual({ changed: false });
    expect(readFileSync(path, "utf8")).toBe(
      `${others}${JSON.stringify({ ...alice, fingerprint: key(9) })}\n]}\n`,
    );
    expect(read(path).verdict(key(1), "127.0.0.1")).toBe("untrusted");
  });

  test("that stands alone in its entry does so again afterwards", async () => {
    const path = trustFile(key(1));
    await setNextKey(path, key(1), key(9));
    expect(read(path).lookup(key(9))?.fingerprint).toBe(key(1));
    await confirmNextKey(path, key(9));
    expect(readFileSync(path, "utf8")).toBe(`${others}"${key(9)}"\n]}\n`);
  });

  test("may announce another next key, and the one before is not trusted then", async () => {
    const path = trustFile();
    await setNextKey(path, key(1), key(8));
    await setNextKey(path, key(1), key(9));
    expect(read(path).lookup(key(8))).toBeUndefined();
    expect(await confirmNextKey(path, key(8))).toEqual({ changed: false });
    expect(read(path).lookup(key(1))?.next).toBe(key(9));
  });

  test("cannot take over a key that is trusted already, or the next one of somebody else", async () => {
    const path = trustFile();
    const before = readFileSync(path, "utf8");
    await expect(setNextKey(path, key(1), key(2))).rejects.toThrow("is already in trusted_fingerprints[0]");
    expect(readFileSync(path, "utf8")).toBe(before);
    await setNextKey(path, key(2), key(9));
    await expect(setNextKey(path, key(1), key(9))).rejects.toThrow("is already in trusted_fingerprints[0]");
    await expect(setNextKey(path, key(7), key(9))).rejects.toThrow("has no entry with the key");
    // A next key has no next key.
    await expect(setNextKey(path, key(9), key(6))).rejects.toThrow("has no entry with the key");
  });

  test("is no longer trusted when either of its keys is removed, and not added a second time", async () => {
    for (const name of [key(1), key(9), "alice"]) {
      const path = trustFile();
      await setNextKey(path, key(1), key(9));
      await expect(addTrustedKey(path, key(9))).rejects.toThrow(
        "it is the next key of trusted_fingerprints[1] ('alice')",
      );
      expect(await removeTrustedKey(path, name)).toEqual({ changed: true });
      expect([read(path).lookup(key(1)), read(path).lookup(key(9))]).toEqual([undefined, undefined]);
    }
  });

  test.each([
    [[{ fingerprint: key(1), next: key(1) }], "[0].next: "],
    [[{ fingerprint: key(1), next: "soon" }], "[0].next: "],
    [[{ fingerprint: key(1), next: [key(2)] }], "[0].next: "],
    [[{ fingerprint: key(1), next: key(2) }, key(2)], "[1]: "],
    [[key(2), { fingerprint: key(1), next: key(2) }], "[1].next: "],
    [
      [
        { fingerprint: key(1), next: key(3) },
        { fingerprint: key(2), next: key(3) },
      ],
      "[1].next: ",
    ],
  ])("%j is refused", (entries, place) => {
    expect(() => parseTrustedKeys(trustText(...entries))).toThrow(
      `trusted-keys.json: trusted_fingerprints${place}`,
    );
  });
});

describe("the pin of a server that changes its key", () => {
  const server = (certsDir: string) => ({ certsDir, host: "example", port: 8443 });
  const pinsOf = async (certsDir: string) => (await resolveServerPin(server(certsDir)))?.fingerprints;
  const write = (dir: string, pins: unknown) =>
    writeFileSync(join(dir, "known-servers.json"), JSON.stringify(pins));

  test("has both keys until the new one was shown, then that one", async () => {
    const dir = temporaryDirectory();
    write(dir, { "example:8443": key(1), "other:1": key(7) });
    await pinNextServerKey(server(dir), key(1), key(2));
    expect(await pinsOf(dir)).toEqual([key(1), key(2)]);
    await dropOldServerKeys(server(dir), key(1));
    expect(await pinsOf(dir)).toEqual([key(1), key(2)]);
    await dropOldServerKeys(server(dir), key(2));
    expect(await pinsOf(dir)).toEqual([key(2)]);
    expect(await listKnownServers(dir)).toEqual([
      { host: "example", port: 8443 },
      { host: "other", port: 1 },
    ]);
  });

  test("moves from server.crt to known-servers.json, where two keys have room", async () => {
    const dir = temporaryDirectory();
    const { identity } = await loadOrCreateIdentity(temporaryDirectory(), "server");
    writeFileSync(join(dir, "server.crt"), identity.certificatePem);
    await pinNextServerKey(server(dir), identity.fingerprint, key(2));
    expect(await pinsOf(dir)).toEqual([identity.fingerprint, key(2)]);
    expect(existsSync(join(dir, "server.crt"))).toBe(false);
    expect(readFileSync(join(dir, "server.crt.old"), "utf8")).toBe(identity.certificatePem);
  });

  test("stays what it is in the server's own folder, where the files change with the key", async () => {
    const dir = temporaryDirectory();
    const { identity } = await loadOrCreateIdentity(dir, "server");
    await pinNextServerKey(server(dir), identity.fingerprint, key(2));
    expect(await pinsOf(dir)).toEqual([identity.fingerprint]);
    expect(existsSync(join(dir, "known-servers.json"))).toBe(false);
  });

  test("that cannot be written is an error", async () => {
    const dir = join(temporaryDirectory(), "nowhere");
    await expect(pinNextServerKey(server(dir), key(1), key(2))).rejects.toThrow(
      "Cannot save the key of example:8443",
    );
  });
});
