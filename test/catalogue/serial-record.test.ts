import { expect, test } from "bun:test";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseAllowedSigners } from "../../src/catalogue/allowed-signers.ts";
import { markOf } from "../../src/catalogue/catalogue-mark.ts";
import { SerialRecord } from "../../src/catalogue/serial-record.ts";
import { checkCatalogue, type SignedCatalogue } from "../../src/catalogue/signed-catalogue.ts";
import { type CatalogueParts, CatalogueSigner, sshVerify } from "../helpers/catalogue-signer.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

/** A record in a new folder, and a signer whose catalogues it takes. */
async function desk() {
  const directory = await temporaryDirectory();
  const signer = await CatalogueSigner.create(directory.path);
  const signersFile = join(directory.path, "allowed_signers");
  await writeFile(signersFile, await signer.line());
  const signers = parseAllowedSigners(await signer.line(), signersFile);
  const record = new SerialRecord(join(directory.path, "state"));
  const signed = async (parts: CatalogueParts): Promise<SignedCatalogue> => {
    const { text, signature } = await signer.sign(parts);
    return checkCatalogue(text, signature, { signers, nowMs: Date.now() });
  };
  const evidence = () => readdir(join(record.folder, "evidence")).catch(() => []);
  return {
    record,
    signed,
    signersFile,
    evidence,
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

const one = { "mods/a.ts": "one" };
const two = { "mods/a.ts": "two" };

test("a higher serial is accepted and remembered, and a lower one refused and kept as evidence", async () => {
  await using at = await desk();
  const [old, next] = [
    await at.signed({ serial: 41, files: one }),
    await at.signed({ serial: 42, files: two }),
  ];
  await at.record.accept(old);
  await at.record.accept(next);
  // Another process reads the same.
  const again = new SerialRecord(at.record.folder);
  await again.accept(next);
  expect(await again.markOf("prod")).toEqual(markOf(next));
  expect(await again.textsOf("prod")).toEqual({ text: next.text, signature: next.signature });
  expect(await at.evidence()).toEqual([]);
  await expect(again.accept(old)).rejects.toMatchObject({ code: "not_signed" });
  expect(await again.markOf("prod")).toEqual(markOf(next));
  const files = (await at.evidence()).filter((file) => file.endsWith(".catalogue"));
  expect(files).toEqual(
    [old, next].map((one) => `prod-${one.catalogue.serial}-${markOf(one).sum.slice(0, 8)}.catalogue`),
  );
});

test("two texts with one serial are refused, and anybody can check with ssh-keygen that both were signed", async () => {
  await using at = await desk();
  const [first, second] = [await at.signed({ files: one }), await at.signed({ files: two })];
  await at.record.accept(first);
  const error = await at.record.accept(second).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "not_signed" });
  const folder = join(at.record.folder, "evidence");
  const files = (await readdir(folder)).filter((file) => file.endsWith(".catalogue"));
  expect(files).toHaveLength(2);
  for (const file of files) {
    expect(String(error)).toContain(join(folder, file));
    expect(await sshVerify(join(folder, file), at.signersFile)).toBe(true);
  }
  // The tampered twin.
  await writeFile(join(folder, files[0] ?? ""), "tampered");
  expect(await sshVerify(join(folder, files[0] ?? ""), at.signersFile)).toBe(false);
});

test("names have serials of their own, and a server keeps the name that it had, under its next key too", async () => {
  await using at = await desk();
  const [prod, test] = [await at.signed({ serial: 42 }), await at.signed({ name: "test", serial: 2 })];
  const [key, nextKey] = ["a".repeat(64), "b".repeat(64)];
  await at.record.accept(prod, { server: key });
  await at.record.accept(test, { server: "c".repeat(64) });
  expect(await at.record.nameOf(nextKey, [key])).toBe("prod");
  expect(await at.record.nameOf(nextKey)).toBeUndefined();
  for (const options of [{ server: key }, { server: nextKey, earlierKeys: [key] }])
    await expect(at.record.accept(test, options)).rejects.toMatchObject({ code: "not_signed" });
  await at.record.accept(prod, { server: nextKey, earlierKeys: [key] });
  expect(await at.record.nameOf(nextKey)).toBe("prod");
});

test("of several that accept at once, none lowers a serial", async () => {
  await using at = await desk();
  const all = await Promise.all([1, 2, 3, 4, 5].map((serial) => at.signed({ serial })));
  await Promise.allSettled(all.map((one) => new SerialRecord(at.record.folder).accept(one)));
  expect((await at.record.markOf("prod"))?.serial).toBe(5);
});

test("a record that can't be read is an error, not a first use", async () => {
  await using at = await desk();
  const next = await at.signed({});
  await mkdir(at.record.folder);
  for (const text of ["", "{}", '{"version":2,"catalogues":{}}', '{"version":1,"catalogues":{"prod":{}}}']) {
    await writeFile(at.record.file, text);
    await expect(at.record.accept(next)).rejects.toMatchObject({ code: "bad_config" });
  }
});

test("evidence is bounded in number", async () => {
  await using at = await desk();
  await at.record.accept(await at.signed({ serial: 100 }));
  for (let serial = 1; serial <= 22; serial++) {
    const refused = at.record.accept(await at.signed({ serial }));
    await expect(refused).rejects.toMatchObject({ code: "not_signed" });
  }
  expect(await at.evidence()).toHaveLength(40);
});
