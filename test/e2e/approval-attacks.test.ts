import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatLock } from "../../src/approvals/lock.ts";
import { ApprovalDesk, source, treeOfModule } from "../helpers/approval-desk.ts";
import { binaries } from "../helpers/binaries.ts";
import { type Ended, run } from "../helpers/processes.ts";
import { canMount, SmallDisk } from "../helpers/small-disk.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

let client: string;
beforeAll(async () => {
  client = (await binaries()).client;
});

const one = source("one");
const two = source("two");
const treeOfOne = treeOfModule("a.ts", one);
const treeOfTwo = treeOfModule("a.ts", two);

function call(desk: ApprovalDesk, ...args: string[]): Promise<Ended> {
  return run([client, ...desk.flags, ...args], { cwd: desk.certs });
}

async function modulesIn(desk: ApprovalDesk): Promise<string[]> {
  return Object.values((await desk.locked()).servers).flatMap(({ modules = {} }) => Object.keys(modules));
}

/** What asks the lock before it does anything. `watch` ends at once where nothing may run. */
const readers = [
  ["list"],
  ["verify"],
  ["verify", "a.ts"],
  ["exec", "a.ts"],
  ["watch"],
  ["describe", "a.ts"],
  ["diff"],
];

describe("a lock", () => {
  let desk: ApprovalDesk;
  let good: string;
  beforeAll(async () => {
    desk = await ApprovalDesk.open({ "a.ts": one });
    await desk.approve(["a.ts"]);
    good = await readFile(desk.lock, "utf8");
  });
  afterAll(() => desk[Symbol.asyncDispose]());

  test.each([
    ["with another tree", (text: string) => text.replace(treeOfOne, treeOfTwo), /do not make up the tree/],
    [
      "of a newer version",
      (text: string) => text.replace('"version": 1', '"version": 2'),
      /Upgrade this one/,
    ],
    [
      "with an unknown key",
      (text: string) => text.replace('"address"', '"trusted": true, "address"'),
      /trusted/,
    ],
    [
      "with a key twice",
      (text: string) => text.replace('"version": 1', '"version": 1, "version": 1'),
      /duplicate key/,
    ],
    ["cut short", (text: string) => text.slice(0, -5), /line \d+/],
    [
      "with escape sequences",
      (text: string) => text.replace('"a.ts": {', '"\\u001b[2J": {'),
      /do not include/,
    ],
  ])("%s: every command ends with exit code 2, and says where", async (_, tamper, said) => {
    const asked = desk.server.requests.filter((line) => line.startsWith("mod:exec")).length;
    await writeFile(desk.lock, tamper(good));
    const commands = [
      ...readers,
      ["approve", "a.ts", "--yes", "--tree", treeOfOne],
      ["deny", "a.ts"],
      ["unapprove", "a.ts"],
    ];
    for (const command of commands) {
      const { exitCode, stderr, stdout } = await call(desk, ...command);
      expect([command, exitCode, stderr]).toEqual([command, 2, expect.stringMatching(said) as string]);
      expect(stderr).toContain("veripy.lock");
      expect(stderr + stdout).not.toContain("\u001b[2J");
    }
    expect(await readFile(desk.lock, "utf8")).toBe(tamper(good));
    expect(desk.server.requests.filter((line) => line.startsWith("mod:exec")).length).toBe(asked);
    await writeFile(desk.lock, good);
    expect((await call(desk, "exec", "a.ts")).exitCode).toBe(0);
  });
});

test("another key at the address, typed by a person: exit code 4 for everything but a decision", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const { port } = desk.server;
  desk.server[Symbol.dispose]();
  const attacker = await desk.serve({ "a.ts": one, "b.ts": two }, { port });
  const { fingerprint } = attacker.identity;
  expect((await call(desk, "list")).exitCode).toBe(3);
  expect((await call(desk, "trust-server", `127.0.0.1:${port}`, fingerprint)).exitCode).toBe(0);
  for (const command of readers.filter(([name]) => name !== "diff")) {
    const { exitCode, stderr } = await call(desk, ...command);
    expect([command, exitCode]).toEqual([command, 4]);
    expect(stderr).toContain(desk.identity.fingerprint);
    expect(stderr).toContain(fingerprint);
  }
  expect((await call(desk, "deny", "b.ts")).exitCode).toBe(0);
  expect((await call(desk, "exec", "a.ts")).exitCode).toBe(4);
  expect(attacker.server.requests.filter((line) => line.startsWith("mod:exec"))).toEqual([]);
  expect((await call(desk, "approve", "a.ts", "--yes", "--tree", treeOfOne)).exitCode).toBe(0);
  expect(Object.keys((await desk.locked()).servers)).toEqual([fingerprint]);
  expect((await call(desk, "exec", "a.ts")).exitCode).toBe(0);
  expect((await call(desk, "exec", "b.ts")).exitCode).toBe(4);
});

test("of programs that approve at once, each leaves its approval", async () => {
  const modules = Object.fromEntries(
    Array.from({ length: 6 }, (_, index) => [`m${index}.ts`, source(`m${index}`)]),
  );
  await using desk = await ApprovalDesk.open(modules);
  const outcomes = await Promise.all(
    Object.entries(modules).map(([mod, module]) =>
      call(desk, "approve", mod, "--yes", "--tree", treeOfModule(mod, module)),
    ),
  );
  expect(outcomes.map(({ exitCode, stderr }) => [exitCode, stderr.includes("error")])).toEqual(
    outcomes.map(() => [0, false]),
  );
  expect(await modulesIn(desk)).toEqual(Object.keys(modules));
});

test("a module swapped between the question and the answer: what was shown is approved, and the rest is pending", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await using terminal = new Terminal([client, ...desk.flags, "approve", "a.ts"], desk.certs);
  await terminal.shows(/one[\s\S]*Approve a\.ts/);
  desk.server.modules["a.ts"] = two;
  desk.server.broadcast("modreload", desk.server.report("a.ts"));
  terminal.type("y\n");
  expect(await terminal.ended()).toBe(0);
  const { modules = {} } = (await desk.locked()).servers[desk.identity.fingerprint] ?? {};
  expect(modules["a.ts"]?.tree).toBe(treeOfOne as never);
  expect((await call(desk, "verify")).exitCode).toBe(4);
});

test("where the approved source is missing, the whole module is shown before the question, not two digests", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  await rm(join(desk.home, "store"), { recursive: true });
  desk.server.modules["a.ts"] = source("steals everything");
  await using terminal = new Terminal([client, ...desk.flags, "approve", "a.ts"], desk.certs);
  await terminal.shows(/steals everything[\s\S]*Approve a\.ts/);
  terminal.type("n\n");
  expect(await terminal.ended()).toBe(0);
  expect((await call(desk, "verify")).exitCode).toBe(4);
});

test("names and texts with escapes and invisible characters are shown as what they are", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": { ...one, files: { "lib/x.ts": "export {};\n" } } });
  await desk.approve(["a.ts"]);
  const evil = `lib/\u001b[2K\u202ex\n+++ b/harmless.ts`;
  desk.server.modules["a.ts"] = {
    content: `${one.content}// \u202e\u200b\u001b[1A\u001b[2K harmless\r// gone\n`,
    files: { [evil]: "export const evil = 1;\n" },
  };
  for (const command of [["diff"], ["diff", "--stat"]]) {
    await using terminal = new Terminal([client, ...desk.flags, ...command], desk.certs);
    expect(await terminal.ended()).toBe(1);
    // Colours are ours, nothing else is.
    const foreign = terminal.output.replaceAll(/\u001b\[\d*m/g, "");
    expect(foreign).not.toMatch(/[\u001b\u202e\u200b]|\r(?!\n)/);
    // A file's name can't pretend to be another line.
    expect(foreign.split(/\r?\n/)).not.toContain("+++ b/harmless.ts");
    const { stdout } = await call(desk, ...command);
    expect(stdout).not.toMatch(/[\u001b\u202e\u200b\r]/);
    expect(stdout.split("\n")).not.toContain("+++ b/harmless.ts");
  }
});

test.skipIf(!canMount)(
  "on a full disk nothing is approved, nothing is lost, and the reason is said",
  async () => {
    await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
    await using disk = await SmallDisk.mount(desk.home);
    await desk.approve(["a.ts"]);
    const before = await readFile(desk.lock, "utf8");
    await disk.fill();
    const approving = ["approve", "b.ts", "--yes", "--tree", treeOfModule("b.ts", two)];
    for (const command of [approving, ["deny", "a.ts"], ["unapprove", "a.ts"]]) {
      const { exitCode, stderr } = await call(desk, ...command);
      expect([command, exitCode, stderr]).toEqual([
        command,
        2,
        expect.stringContaining("the disk is full") as string,
      ]);
      expect(await readFile(desk.lock, "utf8")).toBe(before);
    }
    // What only remembers does not stand in the way.
    for (const command of [["list"], ["exec", "a.ts"]])
      expect((await call(desk, ...command)).exitCode).toBe(0);
    expect((await call(desk, "exec", "b.ts")).exitCode).toBe(4);
    await disk.free();
    expect((await call(desk, ...approving)).exitCode).toBe(0);
    expect(await modulesIn(desk)).toEqual(["a.ts", "b.ts"]);
    const { stdout } = await run(["sh", "-c", "sha256sum store/*; find . -name '*.tmp'"], { cwd: desk.home });
    for (const line of stdout.trim().split("\n")) expect(line).toMatch(/^([0-9a-f]{64}) {2}store\/\1$/);
  },
);

test("an approval stands where its log can't be written, and that is said", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await mkdir(join(desk.home, "log.jsonl"), { recursive: true });
  const { exitCode, stderr } = await call(desk, "approve", "a.ts", "--yes", "--tree", treeOfOne);
  expect([exitCode, stderr]).toEqual([0, expect.stringContaining("log.jsonl") as string]);
  expect(await modulesIn(desk)).toEqual(["a.ts"]);
});

test("a lock in a folder that was cloned approves nothing that the home denies", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const cloned = await desk.locked();
  expect((await call(desk, "deny", "a.ts")).exitCode).toBe(0);
  await writeFile(join(desk.certs, "veripy.lock"), formatLock(cloned));
  for (const flags of [[], ["--no-lock"], ["--lock", join(desk.certs, "veripy.lock")]]) {
    expect((await call(desk, ...flags, "exec", "a.ts")).exitCode).toBe(4);
    expect((await call(desk, ...flags, "verify")).exitCode).toBe(4);
  }
  await eventually(
    "nothing was called",
    () => !desk.server.requests.some((line) => line.startsWith("mod:exec")),
  );
});
