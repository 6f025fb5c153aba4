import { describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Identity, loadIdentity, loadOrCreateIdentity } from "../../src/identity/identity.ts";
import {
  loadNextIdentity,
  prepareNextIdentity,
  resumeSwap,
  swapIdentity,
} from "../../src/identity/next-identity.ts";
import { temporaryDirectory } from "./temporary.ts";

async function keptIdentity(): Promise<{ dir: string; identity: Identity }> {
  const dir = join(temporaryDirectory(), "certs");
  mkdirSync(dir);
  const { identity } = await loadOrCreateIdentity(dir, "client");
  return { dir, identity };
}

describe("the files of a key that is rotated", () => {
  test("are a next key beside the one in use, then that in its place and the one before kept", async () => {
    const { dir, identity } = await keptIdentity();
    expect(await loadNextIdentity(dir, "client")).toBeUndefined();
    const { current, next, created } = await prepareNextIdentity(dir, "client");
    expect([current.fingerprint, created]).toEqual([identity.fingerprint, true]);
    expect(next.fingerprint).not.toBe(identity.fingerprint);
    expect((await loadIdentity(dir, "client")).fingerprint).toBe(identity.fingerprint);
    expect((await loadNextIdentity(dir, "client"))?.fingerprint).toBe(next.fingerprint);

    expect((await swapIdentity(dir, "client")).fingerprint).toBe(next.fingerprint);
    expect(await loadIdentity(dir, "client")).toEqual(next);
    expect(await loadIdentity(dir, "client", ".old")).toEqual(identity);
    expect(await loadNextIdentity(dir, "client")).toBeUndefined();
    expect(readdirSync(dir).sort()).toEqual(["client.crt", "client.crt.old", "client.key", "client.key.old"]);
    if (process.platform === "win32") return;
    for (const name of ["client.key", "client.key.old"]) {
      expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600);
    }
  });

  test("are prepared once: a second time gives the same next key", async () => {
    const { dir } = await keptIdentity();
    const first = await prepareNextIdentity(dir, "client");
    const second = await prepareNextIdentity(dir, "client");
    expect(second.next).toEqual(first.next);
    expect(second.created).toBe(false);
    const both = await Promise.all([prepareNextIdentity(dir, "client"), prepareNextIdentity(dir, "client")]);
    expect(both.map(({ next }) => next.fingerprint)).toEqual([
      first.next.fingerprint,
      first.next.fingerprint,
    ]);
  });

  test("can be rotated again and again, and only the last key before is kept", async () => {
    const { dir, identity } = await keptIdentity();
    const seen = [identity.fingerprint];
    for (let round = 0; round < 3; round++) {
      const { current, next } = await prepareNextIdentity(dir, "client");
      seen.push((await swapIdentity(dir, "client")).fingerprint);
      expect([current.fingerprint, next.fingerprint]).toEqual(seen.slice(-2));
      expect(await loadIdentity(dir, "client", ".old")).toEqual(current);
    }
    expect(new Set(seen).size).toBe(4);
  });

  test("cannot be swapped when there is no next key, or half of one, or one that others can read", async () => {
    const { dir, identity } = await keptIdentity();
    await expect(swapIdentity(dir, "client")).rejects.toThrow();
    const { next } = await prepareNextIdentity(dir, "client");
    const path = (name: string) => join(dir, name);
    renameSync(path("client.crt.next"), path("away"));
    expect(await loadNextIdentity(dir, "client")).toBeUndefined();
    await expect(swapIdentity(dir, "client")).rejects.toThrow("client.crt.next");
    copyFileSync(path("client.crt"), path("client.crt.next"));
    await expect(swapIdentity(dir, "client")).rejects.toThrow("do not match");
    rmSync(path("client.crt.next"));
    // A preparation that was stopped between key and certificate goes on with that key.
    expect((await prepareNextIdentity(dir, "client")).next.fingerprint).toBe(next.fingerprint);
    if (process.platform !== "win32") {
      writeFileSync(path("open"), readFileSync(path("client.key.next")), { mode: 0o644 });
      renameSync(path("client.key.next"), path("kept"));
      renameSync(path("open"), path("client.key.next"));
      await expect(swapIdentity(dir, "client")).rejects.toThrow("chmod 600");
    }
    expect((await loadIdentity(dir, "client")).fingerprint).toBe(identity.fingerprint);
  });

  test("are one whole identity wherever a swap was stopped, and the next attempt finishes it", async () => {
    const { dir, identity } = await keptIdentity();
    const { next } = await prepareNextIdentity(dir, "client");
    const path = (name: string) => join(dir, name);
    // What `swapIdentity` does, step by step, with the process stopped after each.
    const steps = [
      () => copyFileSync(path("client.key"), path("client.key.old")),
      () => copyFileSync(path("client.crt"), path("client.crt.old")),
      () => renameSync(path("client.key.next"), path("client.key")),
      () => renameSync(path("client.crt.next"), path("client.crt")),
    ];
    for (const [index, step] of steps.entries()) {
      step();
      const { fingerprint } = await loadIdentity(dir, "client");
      expect(fingerprint).toBe(index < 2 ? identity.fingerprint : next.fingerprint);
      const again = join(temporaryDirectory(), "again");
      mkdirSync(again);
      for (const name of readdirSync(dir)) copyFileSync(path(name), join(again, name));
      const resumed = await resumeSwap(again, "client");
      expect(resumed?.fingerprint).toBe(index === 2 ? next.fingerprint : undefined);
      if (index < 2) await swapIdentity(again, "client");
      expect((await loadIdentity(again, "client")).fingerprint).toBe(next.fingerprint);
      expect((await loadIdentity(again, "client", ".old")).fingerprint).toBe(identity.fingerprint);
      expect(existsSync(join(again, "client.crt.next"))).toBe(false);
    }
  });

  test("with a certificate whose next key was taken away by hand are as if nothing had begun", async () => {
    const { dir, identity } = await keptIdentity();
    await prepareNextIdentity(dir, "client");
    rmSync(join(dir, "client.key.next"));
    expect(await loadNextIdentity(dir, "client")).toBeUndefined();
    expect(await resumeSwap(dir, "client")).toBeUndefined();
    const { created, current } = await prepareNextIdentity(dir, "client");
    expect([created, current.fingerprint]).toEqual([true, identity.fingerprint]);
  });

  test("of a key and somebody else's certificate are still refused", async () => {
    const { dir } = await keptIdentity();
    const other = await keptIdentity();
    const third = await keptIdentity();
    copyFileSync(join(other.dir, "client.crt"), join(dir, "client.crt"));
    copyFileSync(join(third.dir, "client.crt"), join(dir, "client.crt.next"));
    await expect(loadIdentity(dir, "client")).rejects.toThrow("do not match");
  });
});
