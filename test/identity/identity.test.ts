import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { VeripyError } from "../../src/base/errors.ts";
import { makeCertificate } from "../../src/identity/certificate.ts";
import {
  type Identity,
  loadIdentity,
  loadOrCreateIdentity,
  type Role,
  renewCertificate,
} from "../../src/identity/identity.ts";
import { makeKeyFile } from "../../src/identity/key-file.ts";
import { temporaryDirectory } from "./temporary.ts";

const onPosix = process.platform !== "win32";

async function failure(promise: Promise<unknown>): Promise<VeripyError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof VeripyError)) throw new Error(`expected a VeripyError, got ${String(error)}`);
  return error;
}

async function createIdentity(dir: string, role: Role): Promise<Identity> {
  return (await loadOrCreateIdentity(dir, role)).identity;
}

describe("making an identity", () => {
  test("it is made once and loaded afterwards, and only its owner can read the key", async () => {
    const dir = join(temporaryDirectory(), "certs");
    const { identity, created } = await loadOrCreateIdentity(dir, "server");
    expect(created).toBe(true);
    expect(await loadOrCreateIdentity(dir, "server")).toEqual({ identity, created: false });
    expect(await loadIdentity(dir, "server")).toEqual(identity);
    expect(readdirSync(dir).sort()).toEqual(["server.crt", "server.key"]);
    if (onPosix) expect(statSync(join(dir, "server.key")).mode & 0o777).toBe(0o600);
    expect(identity.notAfter.getTime()).toBeGreaterThan(Date.now() + 9 * 365 * 86_400_000);
  });

  test("two processes that make it at once get the same key", async () => {
    const dir = temporaryDirectory();
    const all = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateIdentity(dir, "client")));
    expect(new Set(all.map(({ identity }) => identity.fingerprint)).size).toBe(1);
    expect((await loadIdentity(dir, "client")).fingerprint).toBe(all[0]?.identity.fingerprint as never);
    expect(readdirSync(dir).sort()).toEqual(["client.crt", "client.key"]);
  });

  test("an existing key is never overwritten", async () => {
    const dir = temporaryDirectory();
    writeFileSync(join(dir, "server.key"), "precious");
    expect(await makeKeyFile(join(dir, "server.key"))).toBe(false);
    expect(readFileSync(join(dir, "server.key"), "utf8")).toBe("precious");
    expect(readdirSync(dir)).toEqual(["server.key"]);
  });

  test("a key without a certificate gets one and is unchanged", async () => {
    const dir = temporaryDirectory();
    const before = await createIdentity(dir, "server");
    unlinkSync(join(dir, "server.crt"));
    expect((await failure(loadIdentity(dir, "server"))).message).toContain("'veripy-server renew'");
    const { identity, created } = await loadOrCreateIdentity(dir, "server");
    expect(created).toBe(true);
    expect(identity.fingerprint).toBe(before.fingerprint);
    expect(identity.keyPem).toBe(before.keyPem);
  });

  test("a certificate without its key is an error, not a new identity", async () => {
    const dir = temporaryDirectory();
    await createIdentity(dir, "client");
    unlinkSync(join(dir, "client.key"));
    for (const attempt of [loadOrCreateIdentity, loadIdentity]) {
      const error = await failure(attempt(dir, "client"));
      expect(error.code).toBe("bad_identity");
      expect(error.message).toContain("is missing");
    }
    expect(existsSync(join(dir, "client.key"))).toBe(false);
  });

  test("an error names the path that cannot be read or written", async () => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "");
    const places = [join(file, "certs")];
    // A place where even root can make no directory.
    if (process.platform === "linux") places.push("/proc/veripy-test");
    for (const dir of places) {
      const error = await failure(loadOrCreateIdentity(dir, "server"));
      expect(error.code).toBe("bad_identity");
      expect(error.message).toMatch(/^Cannot (read|write) /);
      expect(error.message).toContain(dir);
    }
  });

  test("a missing identity is an error that names the command to make one", async () => {
    const error = await failure(loadIdentity(temporaryDirectory(), "client"));
    expect(error.code).toBe("bad_identity");
    expect(error.message).toContain("'veripy-client init'");
  });
});

describe("loading an identity", () => {
  test.skipIf(!onPosix)(
    "a key that others have access to is refused, with the command that fixes it",
    async () => {
      const dir = temporaryDirectory();
      await createIdentity(dir, "server");
      const key = join(dir, "server.key");
      for (const mode of [0o640, 0o604, 0o620, 0o601]) {
        chmodSync(key, mode);
        const error = await failure(loadIdentity(dir, "server"));
        expect(error.code).toBe("bad_identity");
        expect(error.message).toContain(`chmod 600 ${key}`);
      }
      for (const mode of [0o600, 0o400]) {
        chmodSync(key, mode);
        await loadIdentity(dir, "server");
      }
    },
  );

  test("a key and a certificate of two identities are refused", async () => {
    const [one, other] = [temporaryDirectory(), temporaryDirectory()];
    await createIdentity(one, "server");
    await createIdentity(other, "server");
    copyFileSync(join(other, "server.crt"), join(one, "server.crt"));
    expect((await failure(loadIdentity(one, "server"))).message).toContain("do not match");
  });

  test("an expired certificate says how to renew it, and renewing keeps the key", async () => {
    const dir = temporaryDirectory();
    const { keyPem, fingerprint } = await createIdentity(dir, "server");
    const expired = await makeCertificate({ commonName: "old", keyPem, days: -0.5 });
    writeFileSync(join(dir, "server.crt"), expired);
    const error = await failure(loadIdentity(dir, "server"));
    expect(error.code).toBe("bad_identity");
    expect(error.message).toMatch(/expired on \d{4}-\d\d-\d\d.*'veripy-server renew'/);
    expect((await renewCertificate(dir, "server")).fingerprint).toBe(fingerprint);
    expect((await loadIdentity(dir, "server")).keyPem).toBe(keyPem);
  });

  test.each(["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])(
    "a key file with %j in it is an error that names the file",
    async (text) => {
      const dir = temporaryDirectory();
      await createIdentity(dir, "server");
      writeFileSync(join(dir, "server.key"), text);
      const error = await failure(loadIdentity(dir, "server"));
      expect(error.code).toBe("bad_identity");
      expect(error.message).toContain("server.key");
    },
  );

  test("an endless file in place of the key is not read forever", async () => {
    const dir = temporaryDirectory();
    await createIdentity(dir, "server");
    writeFileSync(join(dir, "server.key"), Buffer.alloc(100_000, "a"));
    expect((await failure(loadIdentity(dir, "server"))).message).toContain("more than 65536 bytes");
  });

  test("a broken certificate is an error that names the file and what to do", async () => {
    const dir = temporaryDirectory();
    await createIdentity(dir, "server");
    writeFileSync(join(dir, "server.crt"), "junk");
    expect((await failure(loadIdentity(dir, "server"))).message).toMatch(
      /server\.crt.*'veripy-server renew'/,
    );
  });
});

describe("with OpenSSL", () => {
  const newKey: Record<string, string[]> = {
    Ed25519: ["-newkey", "ed25519"],
    "P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
  };

  test.each(Object.keys(newKey))("an identity that openssl made with %s is as good as ours", async (kind) => {
    const dir = temporaryDirectory();
    const [key, certificate] = [join(dir, "server.key"), join(dir, "server.crt")];
    openssl(
      "req",
      "-x509",
      ...(newKey[kind] ?? []),
      "-nodes",
      "-keyout",
      key,
      "-out",
      certificate,
      "-subj",
      "/CN=x",
    );
    chmodSync(key, 0o600);
    const { fingerprint } = await loadIdentity(dir, "server");
    expect((await renewCertificate(dir, "server")).fingerprint).toBe(fingerprint);
  });

  test("a key of another kind, or with a passphrase, is refused with the reason", async () => {
    const dir = temporaryDirectory();
    const [key, certificate] = [join(dir, "server.key"), join(dir, "server.crt")];
    const common = ["-keyout", key, "-out", certificate, "-subj", "/CN=x"];
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", ...common);
    chmodSync(key, 0o600);
    expect((await failure(loadIdentity(dir, "server"))).message).toContain("use Ed25519 or P-256");
    openssl("req", "-x509", "-newkey", "ed25519", "-passout", "pass:secret", ...common);
    chmodSync(key, 0o600);
    expect((await failure(loadIdentity(dir, "server"))).message).toContain("passphrase");
  });

  test("our certificate is one that openssl reads and verifies, and its key has our fingerprint", async () => {
    const dir = temporaryDirectory();
    const { fingerprint, certificatePem } = await createIdentity(dir, "server");
    const path = join(dir, "server.crt");
    expect(openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", path, path)).toContain("OK");
    const text = openssl("x509", "-in", path, "-noout", "-text");
    expect(text).toContain("CA:FALSE");
    // Else the TLS library would look for another issuer, in every handshake.
    expect(text).not.toContain("X509v3 Key Usage");
    const spki = openssl("x509", "-in", path, "-noout", "-pubkey");
    const der = execFileSync("openssl", ["pkey", "-pubin", "-outform", "der"], { input: spki });
    expect(new Bun.CryptoHasher("sha256").update(der).digest("hex")).toBe(fingerprint);
    const { serialNumber, subjectAltName } = new X509Certificate(certificatePem);
    expect(serialNumber).toMatch(/^[4-7][0-9A-F]{31}$/);
    expect(subjectAltName).toContain("DNS:localhost");
  });
});

function openssl(...args: string[]): string {
  return execFileSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
