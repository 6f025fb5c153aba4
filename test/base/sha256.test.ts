import { expect, test } from "bun:test";
import fc from "fast-check";
import { bulkSha256Hex, sha256Hex } from "../../src/base/sha256.ts";

test.each([sha256Hex, bulkSha256Hex])("%p computes what FIPS 180-4 gives as examples", (digest) => {
  expect(String(digest("abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(String(digest(new Uint8Array()))).toBe(
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  );
});

test("both implementations agree, on bytes and on text, halves of surrogate pairs included", () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 1_000 }), fc.string({ unit: "binary" })), (data) => {
      expect(bulkSha256Hex(data)).toBe(sha256Hex(data));
    }),
  );
  expect(bulkSha256Hex("a\ud800b\udc00")).toBe(sha256Hex("a\ud800b\udc00"));
});
