import { expect, test } from "bun:test";
import { appendFile, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DecisionLog } from "../../src/approvals/decision-log.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const server = "a".repeat(64);
const address = "server.example:8443";
const tree = "b".repeat(64);

test("what was decided can be read, by whom and when, and only by its owner", async () => {
  await using folder = await temporaryDirectory();
  const log = new DecisionLog(join(folder.path, "new", "log.jsonl"), "alice@laptop");
  await log.add(
    [{ event: "approved", server, address, mod: "a.ts", tree, note: "read it" }],
    "2026-11-24T10:00:00Z",
  );
  await log.add([{ event: "rotated", server, address, next: "c".repeat(64) }]);
  const [approved, rotated] = await log.read();
  expect(approved).toEqual({
    at: "2026-11-24T10:00:00Z",
    by: "alice@laptop",
    event: "approved",
    server,
    address,
    mod: "a.ts",
    tree,
    note: "read it",
  });
  expect(await log.rotations()).toEqual(rotated === undefined ? [] : [rotated]);
  expect((await stat(log.path)).mode & 0o777).toBe(0o600);
});

test("a record that was cut short does not take the next one with it", async () => {
  await using folder = await temporaryDirectory();
  const log = new DecisionLog(join(folder.path, "log.jsonl"), "alice@laptop");
  for (const mod of ["a.ts", "b.ts"]) await log.add([{ event: "seen", server, address, mod, tree }]);
  await truncate(log.path, (await stat(log.path)).size - 10);
  await log.add([{ event: "approved", server, address, mod: "c.ts", tree }]);
  expect((await log.read()).map(({ mod }) => mod)).toEqual(["a.ts", "c.ts"]);
});

test("lines that are no records, and records of a later version, are left out", async () => {
  await using folder = await temporaryDirectory();
  const log = new DecisionLog(join(folder.path, "log.jsonl"), "alice@laptop");
  await log.add([{ event: "seen", server, address, mod: "a.ts", tree }]);
  await appendFile(log.path, 'junk\n{"event":"approved"}\n{"event":"sworn","at":"x"}\n[]\n\n');
  expect(await log.read()).toHaveLength(1);
});

test("a server that shows ever new versions can't push decisions and proofs out of the log, nor make it grow", async () => {
  await using folder = await temporaryDirectory();
  const log = new DecisionLog(join(folder.path, "log.jsonl"), "alice@laptop");
  await log.add([{ event: "approved", server, address, mod: "a.ts", tree }]);
  await log.add([{ event: "rotated", server, address, next: "c".repeat(64) }]);
  const flood = Array.from({ length: 12_000 }, (_, index) => ({
    event: "seen" as const,
    server,
    address,
    mod: `${"m".repeat(200)}${index}`,
    tree,
  }));
  for (let round = 0; round < 6; round++) await log.add(flood);
  expect((await stat(log.path)).size).toBeLessThan(8 * 1024 * 1024);
  const records = await log.read();
  expect(records.slice(0, 2).map(({ event }) => event)).toEqual(["approved", "rotated"]);
  expect(records.at(-1)?.mod).toEndWith("m11999");
  expect(records.length).toBeGreaterThan(1_000);
});

test("a log that can't be read or written is an error, but not for what has already happened", async () => {
  await using folder = await temporaryDirectory();
  const path = join(folder.path, "file", "log.jsonl");
  await writeFile(join(folder.path, "file"), "");
  const log = new DecisionLog(path, "alice@laptop");
  const record = { event: "approved" as const, server, address, mod: "a.ts", tree };
  await expect(log.add([record])).rejects.toMatchObject({ code: "bad_config" });
  await log.tryAdd([record]);
  expect(await readFile(join(folder.path, "file"), "utf8")).toBe("");
});
