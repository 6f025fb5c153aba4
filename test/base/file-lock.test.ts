import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withFileLock } from "../../src/base/file-lock.ts";
import { tryPidLock } from "../../src/base/pid-lock.ts";
import { Running } from "../helpers/processes.ts";
import { within } from "../helpers/within.ts";
import { temporaryDirectory } from "../identity/temporary.ts";

const newFile = () => join(temporaryDirectory(), "file.json");

/** Another process that holds the lock until it is killed. */
async function holder(path: string): Promise<Running> {
  const running = new Running([process.execPath, join(import.meta.dir, "fixtures/hold-lock.ts"), path]);
  await running.line("locked");
  return running;
}

/** The ID of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = Bun.spawn(["true"]);
  await child.exited;
  return child.pid;
}

describe("the lock of a file", () => {
  test("is held by one edit at a time, in the order in which they were asked for, and leaves nothing", async () => {
    const path = newFile();
    const seen: string[] = [];
    const edits = Array.from({ length: 8 }, (_, index) =>
      withFileLock(path, async () => {
        seen.push(`begin ${index}`);
        await Bun.sleep(1);
        seen.push(`end ${index}`);
      }),
    );
    await Promise.all(edits);
    expect(seen).toEqual(edits.flatMap((_, index) => [`begin ${index}`, `end ${index}`]));
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test("is held by one of several processes at a time", async () => {
    const path = newFile();
    writeFileSync(path, "0");
    const script = `
      import { withFileLock } from ${JSON.stringify(join(import.meta.dir, "../../src/base/file-lock.ts"))};
      import { readFileSync, writeFileSync } from "node:fs";
      const path = ${JSON.stringify(path)};
      for (let round = 0; round < 40; round++)
        await withFileLock(path, async () => {
          const number = Number(readFileSync(path, "utf8"));
          await Bun.sleep(0);
          writeFileSync(path, String(number + 1));
        }, 20_000);`;
    const processes = [1, 2, 3].map(() => Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" }));
    expect(await Promise.all(processes.map(({ exited }) => exited))).toEqual([0, 0, 0]);
    expect(readFileSync(path, "utf8")).toBe("120");
    expect(existsSync(`${path}.lock`)).toBe(false);
  }, 30_000);

  test("is released when an edit fails", async () => {
    const path = newFile();
    await expect(withFileLock(path, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await withFileLock(path, async () => "yes", 0)).toBe("yes");
  });

  test("that another process holds is an error that names it, and the event loop goes on meanwhile", async () => {
    const path = newFile();
    await using other = await holder(path);
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 5);
    await expect(withFileLock(path, async () => "never", 200)).rejects.toThrow(
      `process ${other.process.pid} holds ${path}.lock`,
    );
    clearInterval(timer);
    expect(turns).toBeGreaterThan(5);
  });

  test("dies with a process that is killed, also while another one waits for it", async () => {
    const path = newFile();
    await using other = await holder(path);
    const waiting = withFileLock(path, async () => "edited");
    other.process.kill("SIGKILL");
    expect(await within(1_000, "the edit", waiting)).toBe("edited");
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test("is no matter of a lock file that was left behind, whatever it says", async () => {
    const path = newFile();
    writeFileSync(`${path}.lock`, `${process.ppid}\n`);
    expect(await withFileLock(path, async () => "edited", 0)).toBe("edited");
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test("can be opened by its owner only", async () => {
    const path = newFile();
    const mode = await withFileLock(path, async () => statSync(`${path}.lock`).mode & 0o777);
    expect(mode).toBe(0o600);
  });
});

describe("where there is no flock, a lock file", () => {
  test("can be made by one alone, and names its process", async () => {
    const path = `${newFile()}.lock`;
    const release = await tryPidLock(path);
    expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    expect(await tryPidLock(path)).toBeUndefined();
    await release?.();
    expect(existsSync(path)).toBe(false);
    expect(await tryPidLock(path)).toBeFunction();
  });

  test("of a process that is gone is broken, by one of many", async () => {
    const path = `${newFile()}.lock`;
    writeFileSync(path, `${await deadPid()}\n`);
    const taken = await Promise.all(Array.from({ length: 8 }, () => tryPidLock(path)));
    expect(taken.filter((release) => release !== undefined)).toHaveLength(1);
    expect(readdirSync(join(path, ".."))).toEqual(["file.json.lock"]);
  });

  test("of a process that lives is not, nor one that is just being written", async () => {
    const path = `${newFile()}.lock`;
    for (const text of [`${process.ppid}\n`, ""]) {
      writeFileSync(path, text);
      expect(await tryPidLock(path)).toBeUndefined();
      expect(readFileSync(path, "utf8")).toBe(text);
    }
    utimesSync(path, new Date(0), new Date(0));
    expect(await tryPidLock(path)).toBeFunction();
  });
});
