import { describe, expect, test } from "bun:test";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import { type Fingerprint, fingerprintOfSpki } from "../../src/identity/fingerprint.ts";
import {
  parseRotation,
  type SignedRotation,
  signRotation,
  verifyRotation,
} from "../../src/identity/rotation.ts";

function newKey(kind: "ed25519" | "p256" = "ed25519") {
  const { privateKey, publicKey } =
    kind === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, pem: pemOf(privateKey), fingerprint: fingerprintOfSpki(spkiOf(publicKey)) };
}
const pemOf = (key: KeyObject) => key.export({ type: "pkcs8", format: "pem" }).toString();
const spkiOf = (key: KeyObject) => key.export({ type: "spki", format: "der" });

const next = "b".repeat(64) as Fingerprint;
const overWire = (signed: SignedRotation) => parseRotation(JSON.parse(JSON.stringify(signed)));

describe("a key rotation", () => {
  test.each(["ed25519", "p256"] as const)(
    "signed by an old %s key is believed, after the wire too",
    (kind) => {
      const old = newKey(kind);
      const issued = new Date();
      expect(verifyRotation(overWire(signRotation(old.pem, next, issued)))).toEqual({
        old: old.fingerprint,
        new: next,
        issued,
      });
    },
  );

  test.each(["ed25519", "p256"] as const)("by %s is refused after a change of any character", (kind) => {
    const signed = signRotation(newKey(kind).pem, next);
    const fields = Object.keys(signed) as (keyof SignedRotation)[];
    fc.assert(
      fc.property(
        fc.constantFrom(...fields),
        fc.nat(200),
        fc.constantFrom(..."0123456789abcdefXY+/"),
        (field, at, character) => {
          const text = signed[field];
          const index = at % text.length;
          const changed = text.slice(0, index) + character + text.slice(index + 1);
          fc.pre(changed !== text);
          // The last characters of base64 carry bits that mean nothing.
          fc.pre(
            (field !== "key" && field !== "signature") ||
              !Buffer.from(changed, "base64").equals(Buffer.from(text, "base64")),
          );
          expect(() => verifyRotation(parseRotation({ ...signed, [field]: changed }))).toThrow(VeripyError);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("signed by another key, in the name of the old one, is refused", () => {
    const [old, attacker] = [newKey(), newKey()];
    const theirs = signRotation(attacker.pem, next);
    const { key } = signRotation(old.pem, next);
    expect(() => verifyRotation({ ...theirs, old: old.fingerprint })).toThrow("not signed by the key");
    expect(() => verifyRotation({ ...theirs, old: old.fingerprint, key })).toThrow("not signed by the key");
  });

  test("is refused when the signed text was meant for something else", () => {
    const old = newKey();
    const signed = signRotation(old.pem, next);
    const text = `${signed.old}\n${signed.new}\n${signed.issued}\n`;
    const signature = sign(null, Buffer.from(text), old.privateKey).toString("base64");
    expect(() => verifyRotation({ ...signed, signature })).toThrow("not signed by the key");
    // The twin: the same with the words that tell it apart.
    const right = sign(null, Buffer.from(`VeriPy key rotation 1\n${text}`), old.privateKey).toString(
      "base64",
    );
    expect(verifyRotation({ ...signed, signature: right }).new).toBe(next);
  });

  test("counts for a day, and may come from a clock that is five minutes ahead", () => {
    const issued = new Date("2027-01-01T00:00:00.000Z");
    const signed = signRotation(newKey().pem, next, issued);
    const at = (ms: number) => () => verifyRotation(signed, issued.getTime() + ms);
    expect(at(86_400_000)).not.toThrow();
    expect(at(86_400_001)).toThrow("issued at 2027-01-01");
    expect(at(-300_000)).not.toThrow();
    expect(at(-300_001)).toThrow("issued at 2027-01-01");
  });

  test("to the same key is refused", () => {
    const old = newKey();
    expect(() => verifyRotation(signRotation(old.pem, old.fingerprint))).toThrow(
      "the new key is the old one",
    );
  });

  test("by a key of another kind is refused, even if it has signed", () => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    expect(() => signRotation(pemOf(privateKey), next)).toThrow("use Ed25519 or P-256");
    const spki = spkiOf(publicKey);
    const old = createHash("sha256").update(spki).digest("hex") as Fingerprint;
    const issued = new Date().toISOString();
    const text = `VeriPy key rotation 1\n${old}\n${next}\n${issued}\n`;
    const signature = sign("sha256", Buffer.from(text), privateKey).toString("base64");
    const signed = { old, new: next, issued, key: spki.toString("base64"), signature };
    expect(() => verifyRotation(signed)).toThrow("use Ed25519 or P-256");
  });

  test.each([
    [null],
    [[]],
    [{}],
    [{ old: "abc" }],
    [{ old: next.toUpperCase() }],
    [{ issued: "yesterday" }],
    [{ issued: "2027-01-01T00:00:00.000+01:00" }],
    [{ key: "!" }],
    [{ key: "A".repeat(260) }],
    [{ signature: 1 }],
  ])("with %j in it is no rotation", (change) => {
    const signed = signRotation(newKey().pem, next);
    const value =
      change === null || Array.isArray(change) || Object.keys(change).length === 0
        ? change
        : { ...signed, ...change };
    expect(() => parseRotation(value)).toThrow("Cannot read a key rotation");
  });
});
