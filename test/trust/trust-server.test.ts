import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import { loadOrCreateIdentity } from "../../src/identity/identity.ts";
import { readKnownServers, resolveServerPin, setKnownServer } from "../../src/trust/known-servers.ts";
import { forgetServer, trustServer } from "../../src/trust/trust-server.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const [one, two] = ["1", "2"].map((digit) => digit.repeat(64)) as [Fingerprint, Fingerprint];
const server = (certsDir: string, host = "example", port = 8443) => ({ certsDir, host, port });

describe("trusting a server's key", () => {
  test("a server.crt with the same key stays, since other servers may need it", async () => {
    const certsDir = temporaryDirectory();
    const { identity } = await loadOrCreateIdentity(temporaryDirectory(), "server");
    writeFileSync(join(certsDir, "server.crt"), identity.certificatePem);
    const trusted = await trustServer(server(certsDir), identity.fingerprint);
    expect(trusted).toMatchObject({ changed: true, replaced: [], certificateMovedTo: undefined });
    expect((await readKnownServers(certsDir)).get("example:8443")).toEqual([identity.fingerprint]);
    expect(existsSync(join(certsDir, "server.crt"))).toBe(true);
  });

  test("a server.crt with another key is put aside; one that is the folder's own is not touched", async () => {
    const certsDir = temporaryDirectory();
    const { identity } = await loadOrCreateIdentity(temporaryDirectory(), "server");
    writeFileSync(join(certsDir, "server.crt"), identity.certificatePem);
    expect(await trustServer(server(certsDir), two)).toMatchObject({
      replaced: [identity.fingerprint],
      certificateMovedTo: join(certsDir, "server.crt.old"),
    });
    expect((await resolveServerPin(server(certsDir)))?.fingerprints).toEqual([two]);
    expect(readFileSync(join(certsDir, "server.crt.old"), "utf8")).toBe(identity.certificatePem);

    const own = temporaryDirectory();
    const { fingerprint } = (await loadOrCreateIdentity(own, "server")).identity;
    await expect(trustServer(server(own), two)).rejects.toMatchObject({ code: "bad_config" });
    expect((await resolveServerPin(server(own)))?.fingerprints).toEqual([fingerprint]);
    expect(existsSync(join(own, "known-servers.json"))).toBe(false);
  });

  test("ends the time in which two keys are accepted", async () => {
    const certsDir = temporaryDirectory();
    await setKnownServer(certsDir, "example", 8443, [one, two]);
    expect(await trustServer(server(certsDir), two)).toMatchObject({ changed: true, replaced: [one] });
    expect(await trustServer(server(certsDir), two)).toMatchObject({ changed: false, replaced: [] });
  });

  test("an address with a zone can be kept and read again", async () => {
    const certsDir = temporaryDirectory();
    await trustServer(server(certsDir, "[fe80::1%eth0]"), one);
    expect((await resolveServerPin(server(certsDir, "fe80::1%eth0")))?.fingerprints).toEqual([one]);
    expect(await forgetServer(server(certsDir, "fe80::1%eth0"))).toMatchObject({ fingerprints: [one] });
  });

  test.each([["two words"], [""], ["a:b"], ["[::1"]])(
    "the host %p would break the file, and is refused",
    async (host) => {
      const certsDir = temporaryDirectory();
      await expect(trustServer(server(certsDir, host), one)).rejects.toMatchObject({ code: "bad_config" });
      expect(existsSync(join(certsDir, "known-servers.json"))).toBe(false);
    },
  );
});

describe("forgetting a server", () => {
  test("names at most ten of the others", async () => {
    const certsDir = temporaryDirectory();
    const pins = Array.from({ length: 12 }, (_, n) => [`host-number-${n}.example:8443`, one]);
    writeFileSync(join(certsDir, "known-servers.json"), JSON.stringify(Object.fromEntries(pins)));
    await expect(forgetServer(server(certsDir, "x"))).rejects.toThrow(
      /It contains: host-number-0\..*9\.example:8443 and 2 more\.$/,
    );
    expect((await readKnownServers(certsDir)).size).toBe(12);
  });

  test("of a folder that knows none says so, and writes nothing", async () => {
    const certsDir = temporaryDirectory();
    await expect(forgetServer(server(certsDir))).rejects.toThrow("The file has no entries.");
    expect(existsSync(join(certsDir, "known-servers.json"))).toBe(false);
  });
});
