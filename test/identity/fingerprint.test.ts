import { expect, test } from "bun:test";
import { createHash, generateKeyPairSync } from "node:crypto";
import { VeripyError } from "../../src/base/errors.ts";
import { makeCertificate } from "../../src/identity/certificate.ts";
import {
  type Fingerprint,
  fingerprintOfCertificate,
  fingerprintOfSpki,
  parseFingerprint,
} from "../../src/identity/fingerprint.ts";

const digits = "0123456789abcdef".repeat(4);
const fingerprint = digits as Fingerprint;

test("a fingerprint is accepted in every form that people write", () => {
  const colons = (digits.match(/../g) ?? []).join(":");
  for (const text of [
    digits,
    digits.toUpperCase(),
    colons,
    colons.toUpperCase(),
    `SHA256:${digits}`,
    `sha256:${colons}`,
  ]) {
    expect(parseFingerprint(text)).toBe(fingerprint);
  }
});

test.each([
  ["", "has 0"],
  ["abc", "has 3"],
  [digits.slice(1), "has 63"],
  [`${digits}0`, "has 65"],
  [`${digits.slice(1)}g`, '"g"'],
  [` ${digits}`, '" "'],
  [`${digits}\n`, '"\\n"'],
  [`${digits.slice(0, 32)}:${digits.slice(32)}`, "colons"],
  [`:${digits}`, "colons"],
  [`SHA256:SHA256:${digits}`, '"S"'],
  ["SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg", '"n"'],
])("%j is no fingerprint, and the error says why", (text, why) => {
  expect(() => parseFingerprint(text)).toThrow(VeripyError);
  expect(() => parseFingerprint(text)).toThrow(why);
});

test("untrusted text cannot forge log lines through the error", () => {
  const error = (() => {
    try {
      parseFingerprint(`\u001b[2K\nall is well ${"x".repeat(10_000)}`);
    } catch (thrown) {
      return thrown as Error;
    }
  })();
  expect(error?.message).not.toMatch(/[\u0000-\u001f]/);
  expect(error?.message.length).toBeLessThan(400);
});

test("every certificate of a key has the same fingerprint", async () => {
  for (const { privateKey, publicKey } of [
    generateKeyPairSync("ed25519"),
    generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ]) {
    const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const spki = publicKey.export({ type: "spki", format: "der" });
    const expected = createHash("sha256").update(spki).digest("hex");
    const [first, second] = await Promise.all(
      ["a", "b"].map((commonName) => makeCertificate({ commonName, keyPem, days: 1 })),
    );
    expect(first).not.toBe(second);
    expect(fingerprintOfCertificate(first ?? "")).toBe(expected as Fingerprint);
    expect(fingerprintOfCertificate(second ?? "")).toBe(expected as Fingerprint);
    expect(fingerprintOfSpki(spki)).toBe(expected as Fingerprint);
  }
});

test("text that is not a certificate is refused", () => {
  expect(() => fingerprintOfCertificate("junk")).toThrow("Cannot read the certificate");
});
