import { describe, expect, test } from "bun:test";
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import { type Fingerprint, fingerprintOfSpki } from "../../src/identity/fingerprint.ts";
import {
  parseRotation,
  type SignedRotation,
  signRotation,
  verifyRotation,
} from "../../src/identity/rotation-statement.ts";

function newKey(kind: "ed25519" | "p256" = "ed25519") {
  const { privateKey, publicKey } =
    kind === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, pem: pemOf(privateKey), fingerprint: fingerprintOfSpki(spkiOf(publicKey)) };
}
const pemOf = (key: KeyObject) => key.export({ type: "pkcs8", format: "pem" }).toString();
const spkiOf = (key: KeyObject) => key.export({ type: "spki", format: "der" });

const next = newKey();
const overWire = (signed: SignedRotation) => parseRotation(JSON.parse(JSON.stringify(signed)));

describe("a key rotation", () => {
  test.each([
    ["ed25519", "p256"],
    ["p256", "ed25519"],
    ["ed25519", "ed25519"],
  ] as const)(
    "signed by an old %s key and a new %s key is believed, after the wire too",
    (oldKind, newKind) => {
      const [old, following] = [newKey(oldKind), newKey(newKind)];
      const issued = new Date();
      expect(verifyRotation(overWire(signRotation(old.pem, following.pem, issued)))).toEqual({
        old: old.fingerprint,
        new: following.fingerprint,
        issued,
      });
    },
  );

  test.each(["ed25519", "p256"] as const)("by %s is refused after a change of any character", (kind) => {
    const signed = signRotation(newKey(kind).pem, newKey(kind).pem);
    const fields = Object.keys(signed) as (keyof SignedRotation)[];
    expect(fields).toHaveLength(7);
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
            !/key|signature/.test(field) ||
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
    const theirs = signRotation(attacker.pem, next.pem);
    const { key } = signRotation(old.pem, next.pem);
    expect(() => verifyRotation({ ...theirs, old: old.fingerprint })).toThrow("not signed by the old key");
    expect(() => verifyRotation({ ...theirs, old: old.fingerprint, key })).toThrow(
      "not signed by the old key",
    );
  });

  describe("to a key whose owner has not signed", () => {
    const [attacker, victim, other] = [newKey(), newKey(), newKey()];
    const own = signRotation(attacker.pem, next.pem);
    /** The attacker's own statement about the victim's key, with whatever he can put in the place of its signature. */
    function statement(nextSignature: string): SignedRotation {
      const named = { old: attacker.fingerprint, new: victim.fingerprint, issued: own.issued };
      const bytes = Buffer.from(`VeriPy key rotation 1\n${named.old}\n${named.new}\n${named.issued}\n`);
      const signature = sign(null, bytes, attacker.privateKey).toString("base64");
      const next_key = spkiOf(createPublicKey(victim.privateKey)).toString("base64");
      return { ...named, key: own.key, signature, next_key, next_signature: nextSignature };
    }
    const { old, new: new_, issued } = statement("");
    const text = `${old}\n${new_}\n${issued}\n`;
    const signatureOf = ({ privateKey }: { privateKey: KeyObject }, domain: string) =>
      sign(null, Buffer.from(`${domain}\n${text}`), privateKey).toString("base64");

    test.each([
      ["nothing", ""],
      ["his own signature", statement("").signature],
      ["his own signature as the next key", signatureOf(attacker, "VeriPy next key 1")],
      ["what the victim has signed as an old key", signatureOf(victim, "VeriPy key rotation 1")],
      ["what the victim has signed of another statement", signRotation(other.pem, victim.pem).next_signature],
    ])("is refused with %s", (_, nextSignature) => {
      expect(() => verifyRotation(statement(nextSignature))).toThrow("not signed by the new key");
    });

    test("is refused with a key of his own in its place", () => {
      const forged = { ...statement(signatureOf(attacker, "VeriPy next key 1")), next_key: own.key };
      expect(() => verifyRotation(forged)).toThrow("not signed by the new key");
    });

    test("is believed once it has", () => {
      const signed = statement(signatureOf(victim, "VeriPy next key 1"));
      expect(verifyRotation(signed).new).toBe(victim.fingerprint);
    });
  });

  test("is refused when the signed text was meant for something else", () => {
    const old = newKey();
    const signed = signRotation(old.pem, next.pem);
    const text = `${signed.old}\n${signed.new}\n${signed.issued}\n`;
    const signatureOf = (domain: string) =>
      sign(null, Buffer.from(domain + text), old.privateKey).toString("base64");
    for (const domain of ["", "VeriPy next key 1\n"]) {
      expect(() => verifyRotation({ ...signed, signature: signatureOf(domain) })).toThrow(
        "not signed by the old key",
      );
    }
    // The twin: the same with the words that tell it apart.
    const right = signatureOf("VeriPy key rotation 1\n");
    expect(verifyRotation({ ...signed, signature: right }).new).toBe(next.fingerprint);
  });

  test("counts for a day, and may come from a clock that is five minutes ahead", () => {
    const issued = new Date("2027-01-01T00:00:00.000Z");
    const signed = signRotation(newKey().pem, next.pem, issued);
    const at = (ms: number) => () => verifyRotation(signed, issued.getTime() + ms);
    expect(at(86_400_000)).not.toThrow();
    expect(at(86_400_001)).toThrow("issued at 2027-01-01");
    expect(at(-300_000)).not.toThrow();
    expect(at(-300_001)).toThrow("issued at 2027-01-01");
  });

  test("to the same key is refused", () => {
    const old = newKey();
    expect(() => verifyRotation(signRotation(old.pem, old.pem))).toThrow("the new key is the old one");
  });

  test("by a key of another kind is refused, even if it has signed", () => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    expect(() => signRotation(pemOf(privateKey), next.pem)).toThrow("use Ed25519 or P-256");
    expect(() => signRotation(next.pem, pemOf(privateKey))).toThrow("use Ed25519 or P-256");
    const spki = spkiOf(publicKey);
    const old = createHash("sha256").update(spki).digest("hex") as Fingerprint;
    const { next_key, next_signature, issued } = signRotation(newKey().pem, next.pem);
    const text = `VeriPy key rotation 1\n${old}\n${next.fingerprint}\n${issued}\n`;
    const signature = sign("sha256", Buffer.from(text), privateKey).toString("base64");
    const key = spki.toString("base64");
    const signed = { old, new: next.fingerprint, issued, key, signature, next_key, next_signature };
    expect(() => verifyRotation(signed)).toThrow("use Ed25519 or P-256");
  });

  test.each([
    [null],
    [[]],
    [{}],
    [{ old: "abc" }],
    [{ old: next.fingerprint.toUpperCase() }],
    [{ issued: "yesterday" }],
    [{ issued: "2027-01-01T00:00:00.000+01:00" }],
    [{ key: "!" }],
    [{ key: "A".repeat(260) }],
    [{ signature: 1 }],
    [{ next_key: "A".repeat(260) }],
    [{ next_key: undefined }],
    [{ next_signature: undefined }],
  ])("with %j in it is no rotation", (change) => {
    const signed = signRotation(newKey().pem, next.pem);
    const value =
      change === null || Array.isArray(change) || Object.keys(change).length === 0
        ? change
        : { ...signed, ...change };
    expect(() => parseRotation(value)).toThrow("Cannot read a key rotation");
  });
});
