import { describe, expect, test } from "bun:test";
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity, loadOrCreateIdentity } from "../../../src/identity/identity.ts";
import { beginServerRotation, finishServerRotation } from "../../../src/server/keys/server-rotation.ts";
import { temporaryDirectory } from "../../helpers/temporary.ts";

async function serverKeys() {
  const { path, [Symbol.asyncDispose]: dispose } = await temporaryDirectory();
  const certsDir = join(path, "certs");
  const { identity } = await loadOrCreateIdentity(certsDir, "server");
  return { certsDir, current: identity.fingerprint, [Symbol.asyncDispose]: dispose };
}

const fingerprintIn = async (certsDir: string) => (await loadIdentity(certsDir, "server")).fingerprint;

describe("a rotation of the server's key", () => {
  test("keeps the current key in use until it is finished", async () => {
    await using keys = await serverKeys();
    const { certsDir, current } = keys;
    const rotation = await beginServerRotation(certsDir);
    expect(rotation.old).toBe(current);
    expect(rotation.new).not.toBe(current);
    expect(await fingerprintIn(certsDir)).toBe(current);
    expect(await finishServerRotation(certsDir)).toBe(rotation.new);
    expect(await fingerprintIn(certsDir)).toBe(rotation.new);
    expect(existsSync(join(certsDir, "server.key.old"))).toBe(true);
  });

  test("cannot be begun twice, and the error names both keys", async () => {
    await using keys = await serverKeys();
    const { certsDir, current } = keys;
    const rotation = await beginServerRotation(certsDir);
    const again = await beginServerRotation(certsDir).catch((error) => error);
    expect(again.code).toBe("bad_config");
    expect(again.message).toStartWith(
      `A rotation is already in progress: ${rotation.new} will replace ${current}.`,
    );
    expect(await finishServerRotation(certsDir)).toBe(rotation.new);
  });

  test("cannot be finished before it is begun, nor twice", async () => {
    await using keys = await serverKeys();
    const { certsDir, current } = keys;
    const message = `There is no rotation to finish in ${certsDir}. Run 'veripy-server rotate' to begin one.`;
    expect(finishServerRotation(certsDir)).rejects.toMatchObject({ code: "bad_config", message });
    expect(await fingerprintIn(certsDir)).toBe(current);
    await beginServerRotation(certsDir);
    const finished = await finishServerRotation(certsDir);
    expect(finishServerRotation(certsDir)).rejects.toMatchObject({ code: "bad_config", message });
    expect(await fingerprintIn(certsDir)).toBe(finished);
  });

  test("that was interrupted between the two files is completed by finishing it again", async () => {
    await using keys = await serverKeys();
    const { certsDir } = keys;
    const rotation = await beginServerRotation(certsDir);
    renameSync(join(certsDir, "server.key.next"), join(certsDir, "server.key"));
    expect(await finishServerRotation(certsDir)).toBe(rotation.new);
    expect(existsSync(join(certsDir, "server.crt.next"))).toBe(false);
  });
});
