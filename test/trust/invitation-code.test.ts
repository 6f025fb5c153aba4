import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { VeripyError } from "../../src/base/errors.ts";
import type { Fingerprint } from "../../src/identity/fingerprint.ts";
import {
  createCode,
  exporterBytes,
  formatCode,
  type InvitationCode,
  isInvitationId,
  isProof,
  type ProofBinding,
  parseCode,
  proofOf,
  verifierOf,
} from "../../src/trust/invitation-code.ts";

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const code = fc
  .string({ unit: fc.constantFrom(...alphabet), minLength: 20, maxLength: 20 })
  .map((text): InvitationCode => ({ id: text.slice(0, 4), secret: text.slice(4) }));
const fingerprint = fc
  .string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 64, maxLength: 64 })
  .map((text) => text as Fingerprint);

function binding(): ProofBinding {
  return {
    exporter: randomBytes(exporterBytes),
    client: randomBytes(32).toString("hex") as Fingerprint,
    server: randomBytes(32).toString("hex") as Fingerprint,
  };
}

describe("an invitation code", () => {
  test("is five groups of four, of which sixteen characters of 32 kinds are secret: 80 bits", () => {
    const { id, secret } = createCode();
    expect(formatCode({ id, secret })).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){4}[0-9A-HJKMNP-TV-Z]{4}$/);
    expect(isInvitationId(id)).toBe(true);
    expect(secret).toHaveLength(16);
    expect(new Set(alphabet).size).toBe(32);
  });

  test("has every character equally often", () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 2_000; index++) {
      const { id, secret } = createCode();
      for (const character of id + secret) counts.set(character, (counts.get(character) ?? 0) + 1);
    }
    // 40,000 characters, 1,250 of each expected with a standard deviation of 35: seven of them either way.
    expect(counts.size).toBe(32);
    for (const count of counts.values()) expect(Math.abs(count - 1_250)).toBeLessThan(250);
  });

  test("is read as it was printed, in any case, with any spacing, and with O, I and L for 0 and 1", () => {
    fc.assert(
      fc.property(code, fc.boolean(), fc.constantFrom("", " ", "-", "  "), (made, isLower, separator) => {
        const printed = formatCode(made);
        expect(parseCode(printed)).toEqual(made);
        const typed = printed.replaceAll("-", separator).replaceAll("0", "O").replaceAll("1", "l");
        expect(parseCode(isLower ? typed.toLowerCase() : typed)).toEqual(made);
      }),
    );
  });

  test.each([
    "",
    "K3F9",
    "K3F9-7QXM-2R8T-D5VA-0WJ",
    "K3F9-7QXM-2R8T-D5VA-0WJCX",
    "K3F9-7QXM-2R8T-D5VA-0WJU",
    "é".repeat(20),
  ])("%j is none, and the error repeats nothing of it", (text) => {
    expect(() => parseCode(text)).toThrow(VeripyError);
    expect(() => parseCode(text)).toThrow("That is not an invitation code");
    if (text.length > 4) expect(() => parseCode(text)).not.toThrow(text.slice(5, 9));
  });
});

describe("a proof of a code", () => {
  test("holds for the same code, role and connection, and tells nothing of the code by its form", () => {
    fc.assert(
      fc.property(code, (made) => {
        const bound = binding();
        const proof = proofOf("client", verifierOf(made), bound);
        expect(proof).toMatch(/^[0-9a-f]{64}$/);
        expect(isProof(proof, "client", verifierOf(made), bound)).toBe(true);
      }),
    );
  });

  test("fails for a code with any one character changed", () => {
    fc.assert(
      fc.property(code, fc.nat(19), fc.constantFrom(...alphabet), (made, at, character) => {
        const text = made.id + made.secret;
        fc.pre(text[at] !== character);
        const other = parseCode(text.slice(0, at) + character + text.slice(at + 1));
        const bound = binding();
        const proof = proofOf("client", verifierOf(other), bound);
        expect(isProof(proof, "client", verifierOf(made), bound)).toBe(false);
      }),
    );
  });

  test("of one end is not the other end's", () => {
    const [verifier, bound] = [verifierOf(createCode()), binding()];
    expect(isProof(proofOf("server", verifier, bound), "client", verifier, bound)).toBe(false);
    expect(isProof(proofOf("client", verifier, bound), "server", verifier, bound)).toBe(false);
  });

  test("is bound to the connection and to both keys", () => {
    fc.assert(
      fc.property(fc.constantFrom("client", "server"), fingerprint, (field, other) => {
        const [verifier, bound] = [verifierOf(createCode()), binding()];
        const proof = proofOf("client", verifier, bound);
        expect(isProof(proof, "client", verifier, { ...bound, [field]: other })).toBe(false);
        const exporter = Uint8Array.from(bound.exporter);
        exporter[exporter.length - 1] = (exporter.at(-1) ?? 0) ^ 1;
        expect(isProof(proof, "client", verifier, { ...bound, exporter })).toBe(false);
        const swapped = { ...bound, client: bound.server, server: bound.client };
        expect(isProof(proof, "client", verifier, swapped)).toBe(false);
      }),
    );
  });

  test.each(["", "0", "0".repeat(63), "0".repeat(64), "0".repeat(65), "é".repeat(64)])(
    "%j is none, and no error",
    (given) => {
      expect(isProof(given, "client", verifierOf(createCode()), binding())).toBe(false);
    },
  );
});
