import { expect, test } from "bun:test";
import { join } from "node:path";
import { emptyLock } from "../../src/approvals/lock.ts";
import { withApproval } from "../../src/approvals/lock-edits.ts";
import { editLock, readLock } from "../../src/approvals/lock-file.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { approvedText } from "./arbitrary-lock.ts";

const place = { fingerprint: "a".repeat(64), address: "server.example:8443" };

test("a lock that does not exist is undefined, and an edit creates it", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "new", "veripy.lock");
  expect(await readLock(path)).toBeUndefined();
  const edited = await editLock(path, (lock) => withApproval(lock, place, "hello.ts", approvedText("one")));
  expect(await readLock(path)).toEqual(edited);
});

test("of many edits at once, none is lost", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "veripy.lock");
  const names = Array.from({ length: 8 }, (_, index) => `m${index}.ts`);
  const approved = (mod: string) => {
    const { files, ...rest } = approvedText(mod);
    return { ...rest, files: files };
  };
  await Promise.all(
    names.map((mod, index) =>
      editLock(path, (lock) =>
        withApproval(
          lock,
          { ...place, fingerprint: String(index).repeat(64), address: `h:${index}` },
          "hello.ts",
          approved(mod),
        ),
      ),
    ),
  );
  expect(Object.keys((await readLock(path))?.servers ?? {})).toHaveLength(8);
});

test("an edit that could not be read back is refused, and the file stays as it was", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "veripy.lock");
  await editLock(path, (lock) => withApproval(lock, place, "hello.ts", approvedText("one")));
  const before = await Bun.file(path).text();
  const tooLong = approvedText("two", { note: "x".repeat(1_001) });
  await expect(
    editLock(path, (lock) => withApproval(lock, place, "hello.ts", tooLong)),
  ).rejects.toMatchObject({
    code: "bad_config",
  });
  expect(await Bun.file(path).text()).toBe(before);
  const longest = approvedText("two", { note: "x".repeat(1_000) });
  await editLock(path, (lock) => withApproval(lock, place, "hello.ts", longest));
  expect(await Bun.file(path).text()).not.toBe(before);
});

test("a damaged lock is neither read nor replaced", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "veripy.lock");
  await Bun.write(path, '{"version": 1, "servers": ');
  await expect(readLock(path)).rejects.toMatchObject({ code: "bad_config" });
  await expect(editLock(path, () => emptyLock)).rejects.toMatchObject({ code: "bad_config" });
  expect(await Bun.file(path).text()).toBe('{"version": 1, "servers": ');
});
