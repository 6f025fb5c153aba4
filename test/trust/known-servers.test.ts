import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VeripyError } from "../../src/base/errors.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { loadOrCreateIdentity } from "../../src/identity/identity.ts";
import {
  keepKnownServer,
  parseKnownServers,
  readKnownServers,
  resolveServerPin,
  serverName,
  setKnownServer,
} from "../../src/trust/known-servers.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const [one, two] = ["1", "2"].map((digit) => digit.repeat(64)) as [Fingerprint, Fingerprint];

describe("which key a server must show", () => {
  const at = { host: "example.org", port: 8443 };

  test("nothing says: undefined, not anybody's key", async () => {
    expect(await resolveServerPin({ certsDir: temporaryDirectory(), ...at })).toBeUndefined();
  });

  test("server.crt comes first, then known-servers.json, then the option", async () => {
    const certsDir = temporaryDirectory();
    expect(await resolveServerPin({ certsDir, ...at, fingerprintOption: one })).toEqual({
      fingerprints: [one],
      source: "--server-fingerprint",
    });
    await keepKnownServer(certsDir, at.host, at.port, two);
    expect(await resolveServerPin({ certsDir, ...at })).toEqual({
      fingerprints: [two],
      source: join(certsDir, "known-servers.json"),
    });
    const { fingerprint } = (await loadOrCreateIdentity(certsDir, "server")).identity;
    expect(await resolveServerPin({ certsDir, ...at })).toEqual({
      fingerprints: [fingerprint],
      source: join(certsDir, "server.crt"),
    });
  });

  test("an option that says otherwise is an error that names both, one that agrees is none", async () => {
    const certsDir = temporaryDirectory();
    await keepKnownServer(certsDir, at.host, at.port, two);
    const error = await resolveServerPin({ certsDir, ...at, fingerprintOption: one }).catch(
      (thrown) => thrown,
    );
    expect(error).toBeInstanceOf(VeripyError);
    expect(error.code).toBe("bad_config");
    for (const part of [one, two, "known-servers.json", "--server-fingerprint"])
      expect(error.message).toContain(part);
    expect((await resolveServerPin({ certsDir, ...at, fingerprintOption: two }))?.fingerprints).toEqual([
      two,
    ]);
  });

  test("a key is known for one port of one host alone", async () => {
    const certsDir = temporaryDirectory();
    await keepKnownServer(certsDir, "Example.ORG", 8443, one);
    expect((await resolveServerPin({ certsDir, ...at }))?.fingerprints).toEqual([one]);
    expect(await resolveServerPin({ certsDir, host: "example.org", port: 8444 })).toBeUndefined();
    expect(await resolveServerPin({ certsDir, host: "example.com", port: 8443 })).toBeUndefined();
  });

  test("a server.crt or known-servers.json that can't be read is an error, never a skipped check", async () => {
    const certsDir = temporaryDirectory();
    writeFileSync(join(certsDir, "known-servers.json"), "{");
    await expect(resolveServerPin({ certsDir, ...at, fingerprintOption: one })).rejects.toThrow("line 1");
    writeFileSync(join(certsDir, "server.crt"), "junk");
    await expect(resolveServerPin({ certsDir, ...at, fingerprintOption: one })).rejects.toThrow("server.crt");
  });
});

describe("known-servers.json", () => {
  test("a key that is kept replaces the one before, and others stay", async () => {
    const certsDir = temporaryDirectory();
    await keepKnownServer(certsDir, "::1", 8443, one);
    await Promise.all([
      keepKnownServer(certsDir, "[::1]", 8443, two),
      keepKnownServer(certsDir, "a.example", 1, one),
      setKnownServer(certsDir, "b.example", 2, [one, two]),
    ]);
    expect(Object.fromEntries(await readKnownServers(certsDir))).toEqual({
      "[::1]:8443": [two],
      "a.example:1": [one],
      "b.example:2": [one, two],
    });
    await setKnownServer(certsDir, "b.example", 2, []);
    expect((await readKnownServers(certsDir)).has("b.example:2")).toBe(false);
    expect(existsSync(join(certsDir, "known-servers.json.lock"))).toBe(false);
  });

  test("a broken file is not overwritten", async () => {
    const certsDir = temporaryDirectory();
    const path = join(certsDir, "known-servers.json");
    writeFileSync(path, "{");
    await expect(keepKnownServer(certsDir, "h", 1, one)).rejects.toThrow("line 1, column 2");
    expect(readFileSync(path, "utf8")).toBe("{");
  });

  test.each([
    ["[]", "must be a JSON object"],
    ["null", "must be a JSON object"],
    [`{"h:1": "${one}", "h:1": "${two}"}`, "duplicate key"],
    [`{"h:1": "${one}", "H:1": "${two}"}`, '["H:1"]: the same server has an entry above'],
    [`{"h": "${one}"}`, "must be host:port"],
    [`{"h:0": "${one}"}`, "must be host:port"],
    [`{"h:65536": "${one}"}`, "must be host:port"],
    [`{"::1:8443": "${one}"}`, "must be host:port"],
    [`{"[::x]:8443": "${one}"}`, "must be host:port"],
    ['{"h:1": "abc"}', "Cannot read 'abc' as a fingerprint"],
    ['{"h:1": []}', "must contain a fingerprint"],
    ['{"h:1": null}', "must be a fingerprint"],
    [`{"h:1": ["${one}", 2]}`, '["h:1"][1]: must be a fingerprint'],
  ])("%s is refused with its place", (text, message) => {
    expect(() => parseKnownServers(text)).toThrow(message);
  });

  test("a server is named by host and port, IPv6 in brackets", () => {
    expect(serverName("Example.org", 1)).toBe("example.org:1");
    expect(serverName("::1", 2)).toBe("[::1]:2");
    expect(serverName("[::1]", 2)).toBe("[::1]:2");
    expect(serverName("127.0.0.1", 3)).toBe("127.0.0.1:3");
  });
});
