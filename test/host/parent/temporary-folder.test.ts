import { expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import {
  makeTemporaryFolder,
  removeTemporaryFolder,
  temporaryFoldersRemoved,
} from "../../../src/host/parent/temporary-folder.ts";
import { Running } from "../../helpers/processes.ts";
import { temporaryDirectory } from "../../helpers/temporary.ts";

const fixture = join(import.meta.dir, "fixtures/temporary-folders.ts");

/** Another process that has removed what was left below `base`, and has made a folder there. */
async function another(base: string): Promise<{ process: Running; folder: string }> {
  const process = new Running([globalThis.process.execPath, fixture], { env: { TMPDIR: base } });
  return { process, folder: (await process.line("made ")).slice("made ".length) };
}

test("a process that is killed leaves its folder, and the next one removes it", async () => {
  await using base = await temporaryDirectory();
  const killed = await another(base.path);
  writeFileSync(join(killed.folder, "secret"), "left");
  const unreadable = join(killed.folder, "closed");
  mkdirSync(unreadable, { mode: 0 });
  killed.process.process.kill("SIGKILL");
  await killed.process.ended();
  expect(existsSync(killed.folder)).toBe(true);

  await using next = (await another(base.path)).process;
  expect(existsSync(dirname(killed.folder))).toBe(false);
  expect(readdirSync(base.path)).toHaveLength(1);
  next.process.kill("SIGKILL");
});

test("the folder of a process that lives stays", async () => {
  await using base = await temporaryDirectory();
  const first = await another(base.path);
  await using _first = first.process;
  await using second = (await another(base.path)).process;
  expect(existsSync(first.folder)).toBe(true);
  expect(statSync(first.folder).mode & 0o777).toBe(0o700);
  expect(readdirSync(base.path)).toHaveLength(2);
  second.process.kill("SIGKILL");
});

test("what only looks like a folder that was left stays", async () => {
  await using base = await temporaryDirectory();
  const at = (...names: string[]) => join(base.path, ...names);
  for (const name of ["victim", "veripy-noLock", "veripy-folder", "veripy-linked", "other-abcdef"])
    mkdirSync(at(name));
  writeFileSync(at("victim/lock"), "");
  writeFileSync(at("other-abcdef/lock"), "");
  mkdirSync(at("veripy-folder/lock"));
  symlinkSync(at("victim/lock"), at("veripy-linked/lock"));
  symlinkSync(at("victim"), at("veripy-theirs"));
  const before = readdirSync(base.path);
  await using next = (await another(base.path)).process;
  expect(readdirSync(base.path)).toEqual(expect.arrayContaining(before));
  expect(existsSync(at("victim/lock"))).toBe(true);
  next.process.kill("SIGKILL");
});

// Only root can give a folder away.
test.skipIf(process.getuid?.() !== 0)("another user's folder stays", async () => {
  await using base = await temporaryDirectory();
  const theirs = join(base.path, "veripy-theirs");
  mkdirSync(theirs);
  writeFileSync(join(theirs, "lock"), "");
  chownSync(theirs, 12_345, 12_345);
  await using next = (await another(base.path)).process;
  expect(existsSync(theirs)).toBe(true);
  next.process.kill("SIGKILL");
});

test("the last folder takes the one that held it along, and a new one is made when that is needed", async () => {
  const [first, second] = [await makeTemporaryFolder(), await makeTemporaryFolder()];
  expect(dirname(first)).toBe(dirname(second));
  removeTemporaryFolder(first);
  await temporaryFoldersRemoved();
  expect(existsSync(second)).toBe(true);
  removeTemporaryFolder(second);
  await temporaryFoldersRemoved();
  expect(existsSync(dirname(second))).toBe(false);

  const third = await makeTemporaryFolder();
  // As something does that cleans up the system's temporary folder.
  rmSync(dirname(third), { recursive: true });
  const fourth = await makeTemporaryFolder();
  expect(existsSync(fourth)).toBe(true);
  removeTemporaryFolder(third);
  removeTemporaryFolder(fourth);
  await temporaryFoldersRemoved();
  expect(existsSync(dirname(fourth))).toBe(false);
});
