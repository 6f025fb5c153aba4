import { describe, expect, test } from "bun:test";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { findSigner, parseAllowedSigners } from "../../src/catalogue/allowed-signers.ts";
import { parseSshPublicKey } from "../../src/catalogue/ssh-public-key.ts";
import { isSignatureOf, parseSshSignature } from "../../src/catalogue/ssh-signature.ts";
import { sshString } from "../../src/catalogue/ssh-wire.ts";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const namespace = "catalogue@veripy";
const message = "# veripy catalogue 1\nsomething\n";

async function keygen(args: string[], cwd: string): Promise<void> {
  const { exitCode, stderr } = await run(["ssh-keygen", ...args], { cwd });
  if (exitCode !== 0) throw new Error(`ssh-keygen failed: ${stderr}`);
}

describe("a signature by ssh-keygen", () => {
  test.each([
    ["ed25519", []],
    ["ecdsa", ["-b", "256"]],
    ["ecdsa", ["-b", "384"]],
    ["ecdsa", ["-b", "521"]],
    ["rsa", ["-b", "2048"]],
    ["rsa", ["-b", "3072"]],
  ] as const)(
    "with a key of type %s %p is accepted, and each of its tampered twins refused",
    async (type, more) => {
      await using directory = await temporaryDirectory();
      const cwd = directory.path;
      await keygen(["-q", "-t", type, ...more, "-N", "", "-C", "ops", "-f", "key"], cwd);
      await Bun.write(join(cwd, "message"), message);
      for (const hash of ["sha256", "sha512"]) {
        await keygen(
          ["-Y", "sign", "-q", "-f", "key", "-n", namespace, "-O", `hashalg=${hash}`, "message"],
          cwd,
        );
        const armoured = await readFile(join(cwd, "message.sig"), "utf8");
        await Bun.file(join(cwd, "message.sig")).delete();
        const signature = parseSshSignature(armoured, "message.sig");
        expect(isSignatureOf(signature, message, namespace)).toBe(true);
        expect(isSignatureOf(signature, `${message} `, namespace)).toBe(false);
        expect(isSignatureOf(signature, message, "file")).toBe(false);
        expect(isSignatureOf({ ...signature, namespace: "file" }, message, "file")).toBe(false);
        expect(
          isSignatureOf({ ...signature, hash: hash === "sha256" ? "sha512" : "sha256" }, message, namespace),
        ).toBe(false);
        for (let at = 0; at < signature.signature.length; at += 7) {
          const tampered = Buffer.from(signature.signature);
          tampered[at] = (tampered[at] ?? 0) ^ 1;
          expect(isSignatureOf({ ...signature, signature: tampered }, message, namespace)).toBe(false);
        }
        const signers = parseAllowedSigners(
          `ops@example ${await readFile(join(cwd, "key.pub"), "utf8")}`,
          "signers",
        );
        const found = findSigner(signers, signature.publicKey, { namespace, nowMs: Date.now() });
        expect(found).toMatchObject({ principal: "ops@example" });
      }
    },
  );
});

test("a signature with a security key is checked as OpenSSH does", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const point = Buffer.from(String(publicKey.export({ format: "jwk" }).x), "base64url");
  const type = "sk-ssh-ed25519@openssh.com";
  const application = "ssh:veripy";
  const key = parseSshPublicKey(Buffer.concat([sshString(type), sshString(point), sshString(application)]));
  const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest();
  const flagsAndCounter = Buffer.from([1, 0, 0, 0, 7]);
  const signed = Buffer.concat([sha256(application), flagsAndCounter, sha256("data")]);
  const signature = Buffer.concat([
    sshString(type),
    sshString(sign(null, signed, privateKey)),
    flagsAndCounter,
  ]);
  expect(key.verifies(Buffer.from("data"), signature)).toBe(true);
  expect(key.verifies(Buffer.from("other"), signature)).toBe(false);
  signature[signature.length - 1] = 8;
  expect(key.verifies(Buffer.from("data"), signature)).toBe(false);
});
