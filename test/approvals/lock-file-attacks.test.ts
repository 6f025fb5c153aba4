import { expect, test } from "bun:test";
import { lstat, mkdir, open, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { emptyLock, formatLock, lockVersion } from "../../src/approvals/lock.ts";
import { withApproval } from "../../src/approvals/lock-edits.ts";
import { editLock, readLock } from "../../src/approvals/lock-file.ts";
import { VeripyError } from "../../src/base/errors.ts";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { approvedText } from "./arbitrary-lock.ts";

const place = { fingerprint: "a".repeat(64), address: "server.example:8443" };
const lock = withApproval(emptyLock, place, "hello.ts", approvedText("one"));
const other = { fingerprint: "b".repeat(64), address: "other.example:8443" };
const more = (before: typeof lock) => withApproval(before, other, "hello.ts", approvedText("two"));

/** What can stand at the path instead of a lock, and what is said of it. */
const strange: [what: string, make: (path: string) => Promise<unknown>, said: RegExp][] = [
  ["a directory", (path) => mkdir(path), /not a regular file/],
  ["a FIFO", (path) => run(["mkfifo", path]), /not a regular file/],
  ["a device", (path) => symlink("/dev/zero", path), /not a regular file/],
  ["a dangling link", (path) => symlink("nowhere", path), /dangling symbolic link/],
  ["a loop of links", (path) => symlink(path, path), /symbolic links form a loop/],
  ["no UTF-8", (path) => writeFile(path, Buffer.from([0x7b, 0xff, 0x7d])), /not UTF-8/],
  ["nothing", (path) => writeFile(path, ""), /line 1, column 1/],
  ["65 MiB", (path) => grow(path, 65 * 1024 * 1024), /more than 67108864 bytes/],
  ["a list", (path) => writeFile(path, "[]"), /object/],
  ["deep nesting", (path) => writeFile(path, "[".repeat(1_000)), /nested more than/],
];

async function grow(path: string, bytes: number): Promise<void> {
  await using file = await open(path, "w");
  await file.truncate(bytes);
}

test.each(strange)("a lock that is %s is neither read nor replaced", async (_, make, said) => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "veripy.lock");
  await make(path);
  const before = await lstat(path);
  for (const use of [() => readLock(path), () => editLock(path, more)]) {
    const error = await use().catch((thrown: unknown) => thrown);
    if (!(error instanceof VeripyError)) throw new Error("It was accepted.");
    expect(error.code).toBe("bad_config");
    expect(error.message).toMatch(said);
    expect(error.message.split(path)).toHaveLength(2);
  }
  expect((await lstat(path)).ino).toBe(before.ino);
  expect(await stat(`${path}.lock`).catch(() => undefined)).toBeUndefined();
});

test("a link to a lock stays a link, and the lock behind it keeps its mode, but not write access for everybody", async () => {
  await using folder = await temporaryDirectory();
  const [path, target] = [join(folder.path, "veripy.lock"), join(folder.path, "shared.lock")];
  await writeFile(target, formatLock(lock));
  await run(["chmod", "666", target]);
  await symlink("shared.lock", path);
  await editLock(path, more);
  expect((await lstat(path)).isSymbolicLink()).toBe(true);
  expect(Object.keys((await readLock(target))?.servers ?? {})).toHaveLength(2);
  expect((await stat(target)).mode & 0o002).toBe(0);
});

test("a link to another file is refused, and that file stays as it was", async () => {
  await using folder = await temporaryDirectory();
  const [path, target] = [join(folder.path, "veripy.lock"), join(folder.path, "authorized_keys")];
  await writeFile(target, "ssh-ed25519 AAAA alice\n");
  await symlink(target, path);
  await expect(editLock(path, more)).rejects.toMatchObject({ code: "bad_config" });
  expect(await readFile(target, "utf8")).toBe("ssh-ed25519 AAAA alice\n");
});

test("a lock of a newer version is neither used nor overwritten", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "veripy.lock");
  const newer = formatLock(lock).replace('"version": 1', `"version": ${lockVersion + 1}`);
  await writeFile(path, newer);
  const said = { code: "bad_config", message: expect.stringContaining("A newer program wrote it") as string };
  await expect(readLock(path)).rejects.toMatchObject(said);
  await expect(editLock(path, more)).rejects.toMatchObject(said);
  expect(await readFile(path, "utf8")).toBe(newer);
});

test("a module named like something that every object has needs files and an approval of its own", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "veripy.lock");
  const text = formatLock(withApproval(emptyLock, place, "constructor", approvedText("one")));
  await writeFile(path, text);
  await expect(readLock(path)).rejects.toMatchObject({
    message: expect.stringContaining("its files do not include constructor") as string,
  });
});
