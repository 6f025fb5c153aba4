import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines, sha256, treeOf } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const old = 'export const execute = () => "old";\n';
const changed = 'export const execute = () => "new";\n';
const treeOfHello = (text: string) => treeOf({ "hello.ts": text });
const other = 'export const execute = () => "other";\n';

/** A served site with two modules and an empty lock. */
async function newSite(): Promise<Site> {
  const site = await Site.create({ "hello.ts": old, "other.ts": other });
  await site.start();
  return site;
}

const lockOf = (site: Site) => Bun.file(join(site.path, "veripy.lock"));
const onTerminal = (site: Site, ...args: string[]) =>
  new Terminal([site.client, "--port", String(site.port), ...args], site.path);
const approveTree = (site: Site, mod: string, tree: string) =>
  site.call(["approve", mod, "--yes", "--tree", tree]);

/** Replaces hello.ts, and waits until the server runs that. */
async function edit(site: Site, text: string): Promise<void> {
  await site.write("hello.ts", text);
  await eventually("the new version", async () => {
    return (await site.call(["list", "--json"])).stdout.includes(treeOfHello(text));
  });
}

/** The approved trees in the lock, by module. */
async function approvedTrees(site: Site): Promise<Record<string, string>> {
  const lock = (await lockOf(site).json()) as {
    servers: Record<string, { modules?: Record<string, { tree: string }> }>;
  };
  const modules = Object.values(lock.servers).flatMap((server) => Object.entries(server.modules ?? {}));
  return Object.fromEntries(modules.map(([mod, { tree }]) => [mod, tree]));
}

describe("in a script", () => {
  let site: Site;
  beforeAll(async () => {
    site = await newSite();
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test.each([
    [["approve", "hello"], "--yes --tree HASH"],
    [["approve"], "--yes --tree HASH"],
    [["approve", "hello", "--json"], "--yes --tree HASH"],
    [["approve", "hello", "--tree", "0".repeat(64)], "--yes --tree HASH"],
    [["approve", "hello", "--yes"], "--tree"],
    [["approve", "--yes", "--tree", "0".repeat(64)], "exactly one"],
    [["approve", "hello", "other", "--yes", "--tree", "0".repeat(64)], "exactly one"],
    [["approve", "hello", "--yes", "--tree", "0".repeat(8)], "64 lowercase"],
    [["approve", "hello", "--yes", "--tree", "0".repeat(64), "--note", ""], "empty"],
    [["--no-lock", "approve", "hello", "--yes", "--tree", "0".repeat(64)], "--no-lock"],
    [["--no-lock", "deny", "hello"], "--no-lock"],
    [["--no-lock", "unapprove", "hello"], "--no-lock"],
  ])("%p is a usage error that says what to type, and writes no lock", async (args, advice) => {
    const { exitCode, stderr, stdout } = await site.call(args, { stdin: "y\ny\n" });
    expect(exitCode).toBe(2);
    expect(stderr + stdout).toContain(advice);
    expect(await lockOf(site).exists()).toBe(false);
  });

  test("another tree than the current one is refused with exit code 4, and nothing is written", async () => {
    const { exitCode, stderr } = await approveTree(site, "hello", treeOfHello(changed));
    expect(exitCode).toBe(4);
    expect(stderr).toContain(treeOfHello(old));
    expect(await lockOf(site).exists()).toBe(false);
  });

  test("a module that does not exist is refused with a suggestion", async () => {
    for (const command of [
      ["diff", "helo"],
      ["deny", "helo"],
      ["show", "helo"],
      ["approve", "helo", "--yes", "--tree", "0".repeat(64)],
    ]) {
      const { exitCode, stderr } = await site.call(command);
      expect(exitCode).toBe(2);
      expect(stderr).toContain("hello.ts");
    }
  });
});

test("approve, change, see the difference, approve again: from the first version to the second", async () => {
  await using site = await newSite();
  const by = `root@${hostname()}`;
  const first = await site.call([
    "approve",
    "hello",
    "--yes",
    "--tree",
    treeOfHello(old),
    "--note",
    "read it",
  ]);
  expect(first).toMatchObject({ exitCode: 0 });
  expect(await approvedTrees(site)).toEqual({ "hello.ts": treeOfHello(old) });
  const text = await lockOf(site).text();
  expect(text).toContain('"note": "read it"');
  if (process.getuid?.() === 0) expect(text).toContain(`"approved_by": "${by}"`);

  expect(await site.call(["diff", "hello"])).toMatchObject({ exitCode: 0, stdout: "" });
  expect((await site.call(["exec", "hello"])).stdout).toBe("old\n");
  // As soon as one is approved, the others need it too.
  expect(await site.call(["exec", "other"])).toMatchObject({ exitCode: 4, stdout: "" });

  await edit(site, changed);
  const difference = await site.call(["diff", "hello"]);
  expect(difference.exitCode).toBe(1);
  expect(difference.stdout).toContain("hello.ts  pending (code)\n");
  expect(difference.stdout).toContain(
    '-export const execute = () => "old";\n+export const execute = () => "new";\n',
  );

  // The server retains the approved version.
  const ran = await site.call(["exec", "hello"]);
  expect(ran).toMatchObject({ exitCode: 0, stdout: "old\n" });
  expect(ran.stderr).toBe(
    `hello.ts: a newer version is pending; running the approved one, ${treeOfHello(old).slice(0, 8)}…\n`,
  );

  expect(await approveTree(site, "hello", treeOfHello(old))).toMatchObject({ exitCode: 4 });
  expect(await approveTree(site, "hello", treeOfHello(changed))).toMatchObject({ exitCode: 0 });
  expect(await site.call(["exec", "hello"])).toMatchObject({ exitCode: 0, stdout: "new\n", stderr: "" });

  const log = jsonLines((await site.call(["log", "hello", "--json"])).stdout);
  const decided = log.filter(({ event }) => event !== "seen");
  expect(decided).toMatchObject([
    { event: "approved", mod: "hello.ts", tree: treeOfHello(old), note: "read it" },
    { event: "approved", mod: "hello.ts", tree: treeOfHello(changed) },
  ]);
  expect(log.filter(({ mod }) => mod !== "hello.ts")).toEqual([]);
});

test("each list shows the states: not approved, approved, pending with what changed, denied", async () => {
  await using site = await newSite();
  const state = async (mod: string, command: string) => {
    const { stdout, exitCode } = await site.call([command, "--json"]);
    const { state, changed, approval } = jsonLines(stdout).find((one) => one.mod === mod) ?? {};
    return { state: approval ?? state, changed, exitCode };
  };
  for (const command of ["list", "verify", "modules"])
    expect(await state("hello.ts", command)).toEqual({
      state: "not approved",
      changed: undefined,
      exitCode: 0,
    });
  const consistent = await site.call(["verify"]);
  expect(consistent.stderr.match(/consistent, not approved: /g)).toHaveLength(1);
  expect(consistent.stdout).toMatch(/^verified {2}hello\.ts +[0-9a-f]{64} {2}not approved/m);

  await approveTree(site, "hello", treeOfHello(old));
  for (const [command, exitCode] of [
    ["list", 0],
    ["verify", 4],
    ["modules", 0],
  ] as const) {
    expect(await state("hello.ts", command)).toEqual({ state: "approved", changed: undefined, exitCode });
    expect(await state("other.ts", command)).toEqual({ state: "pending", changed: ["new"], exitCode });
  }
  expect((await site.call(["verify"])).stderr).toBe("");
  // Only what is asked for counts.
  expect((await site.call(["verify", "hello"])).exitCode).toBe(0);

  await edit(
    site,
    'export const description = "Other";\nexport const permissions = { read: ["/etc"] };\nexport const execute = () => "";\n',
  );
  const all = ["code", "permissions", "description"];
  expect(await state("hello.ts", "list")).toEqual({ state: "pending", changed: all, exitCode: 0 });
  expect((await site.call(["list"])).stdout).toMatch(
    /^hello\.ts {2}[0-9a-f]{16} {2}pending \(code, permissions, description\) {2}\[read\] Other$/m,
  );
  expect((await site.call(["describe", "hello"])).stdout).toContain(
    "pending (code, permissions, description)",
  );

  expect((await site.call(["deny", "other"])).exitCode).toBe(0);
  for (const [command, exitCode] of [
    ["list", 0],
    ["verify", 4],
  ] as const)
    expect(await state("other.ts", command)).toEqual({ state: "denied", changed: undefined, exitCode });
  expect((await site.call(["verify", "other"])).exitCode).toBe(4);
});

test("what is denied does not run, without a lock neither, until it is approved", async () => {
  await using site = await newSite();
  expect((await site.call(["exec", "other"])).exitCode).toBe(0);
  expect((await site.call(["deny", "other", "--note", "reads too much"])).exitCode).toBe(0);
  for (const flags of [[], ["--no-lock"]])
    expect(await site.call([...flags, "exec", "other"])).toMatchObject({ exitCode: 4, stdout: "" });
  // Nothing is approved, so the rest goes on as before.
  expect((await site.call(["exec", "hello"])).exitCode).toBe(0);
  expect((await approveTree(site, "other", treeOf({ "other.ts": other }))).exitCode).toBe(0);
  expect((await site.call(["exec", "other"])).stdout).toBe("other\n");
});

test("a version can be denied before it comes, by its tree", async () => {
  await using site = await newSite();
  expect((await site.call(["deny", "hello", "--tree", treeOfHello(changed)])).exitCode).toBe(0);
  expect((await site.call(["exec", "hello"])).stdout).toBe("old\n");
  await edit(site, changed);
  expect((await site.call(["exec", "hello"])).exitCode).toBe(4);
});

test("approvals are removed and the log is read when the server is gone, also after its key was forgotten", async () => {
  await using site = await newSite();
  await approveTree(site, "hello", treeOfHello(old));
  await approveTree(site, "other", treeOf({ "other.ts": other }));
  const server = (await site.manage(["fingerprint"])).stdout.trim();
  const offline = ["-H", `localhost:${site.port}`];
  const gone = (args: string[]) =>
    site.call([...args, ...offline], { env: { PATH: process.env.PATH ?? "" } });
  const none = await gone(["unapprove", "hello", "nothing"]);
  expect(none.exitCode).toBe(2);
  expect(Object.keys(await approvedTrees(site))).toEqual(["hello.ts", "other.ts"]);

  const removed = await gone(["unapprove", "hello", "--json"]);
  expect(jsonLines(removed.stdout)).toMatchObject([{ mod: "hello.ts", tree: treeOfHello(old), server }]);
  expect(Object.keys(await approvedTrees(site))).toEqual(["other.ts"]);
  expect((await gone(["unapprove", "hello"])).exitCode).toBe(2);

  await rm(join(site.certs, "server.crt"));
  expect((await gone(["unapprove", "other"])).exitCode).toBe(0);
  // The entry is still there, so nothing runs.
  expect(await approvedTrees(site)).toEqual({});
  expect(await lockOf(site).text()).toContain('"modules": {}');
  expect((await gone(["log", "--locked"])).stdout).toMatch(/unapproved +other\.ts/);
  expect((await site.call(["log", "-H", "elsewhere.example"])).stdout).toBe("");
});

test("a lock at another address is not touched by unapprove", async () => {
  await using site = await newSite();
  await approveTree(site, "hello", treeOfHello(old));
  await rm(join(site.certs, "server.crt"));
  expect((await site.call(["unapprove", "hello", "-H", "localhost:1"])).exitCode).not.toBe(0);
  expect(Object.keys(await approvedTrees(site))).toEqual(["hello.ts"]);
});

test("--locked keeps exec from a server without approvals, but not the commands that lead to them", async () => {
  await using site = await newSite();
  for (const command of [["list"], ["verify"], ["exec", "hello"], ["describe", "hello"], ["modules"]])
    expect((await site.call(["--locked", ...command])).exitCode).toBe(4);
  expect((await site.call(["--locked", "show", "hello"])).exitCode).toBe(0);
  expect((await site.call(["--locked", "diff"])).exitCode).toBe(1);
  expect((await site.call(["--locked", "log"])).exitCode).toBe(0);
  expect((await approveTree(site, "hello", treeOfHello(old))).exitCode).toBe(0);
  expect((await site.call(["--locked", "exec", "hello"])).stdout).toBe("old\n");
});

test("--lock names the file: a missing one is created by a decision, and an error for everything else", async () => {
  await using site = await newSite();
  const flags = ["--lock", "team.lock"];
  for (const command of [["list"], ["diff"], ["show", "hello"], ["unapprove", "hello"]]) {
    const { exitCode, stderr } = await site.call([...command, ...flags]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("team.lock")]);
  }
  expect(
    (await site.call([...flags, "approve", "hello", "--yes", "--tree", treeOfHello(old)])).exitCode,
  ).toBe(0);
  expect(await Bun.file(join(site.path, "team.lock")).text()).toContain(treeOfHello(old));
  expect(await lockOf(site).exists()).toBe(false);
  expect((await site.call([...flags, "exec", "other"])).exitCode).toBe(4);
  expect((await site.call(["exec", "other"])).exitCode).toBe(0);
});

describe.skipIf(process.platform === "win32")("on a terminal", () => {
  const question = /Approve hello\.ts, [0-9a-f]{8}…\? \(y\/n\/s\/q\) /;

  test("the source of a new module is shown with line numbers, and 'y' approves it", async () => {
    await using site = await newSite();
    await using client = onTerminal(site, "approve", "hello");
    await client.shows(question);
    expect(client.output).toContain('export const execute = () => "old";');
    expect(client.output).toContain("permissions   none");
    client.type("y\r");
    expect(await client.ended()).toBe(0);
    expect(client.output).toContain("only approved modules of this server run");
    expect(await approvedTrees(site)).toEqual({ "hello.ts": treeOfHello(old) });
  });

  test.each([
    ["n", "n\r"],
    ["an empty line", "\r"],
    ["the end of input", "\u0004"],
    ["q", "q\r"],
  ])("%s approves nothing", async (_, keys) => {
    await using site = await newSite();
    await using client = onTerminal(site, "approve", "hello");
    await client.shows(question);
    client.type(keys);
    expect(await client.ended()).toBe(0);
    expect(await lockOf(site).exists()).toBe(false);
  });

  test("Ctrl-C approves nothing", async () => {
    await using site = await newSite();
    await using client = onTerminal(site, "approve", "hello");
    await client.shows(question);
    client.type("\u0003");
    expect(await client.ended()).toBe(130);
    expect(await lockOf(site).exists()).toBe(false);
  });

  test("'s' shows it again, and any other answer is explained, not taken for a yes", async () => {
    await using site = await newSite();
    await using client = onTerminal(site, "approve", "hello");
    await client.shows(question);
    client.output = "";
    client.type("s\r");
    await client.shows(question);
    expect(client.output).toContain('export const execute = () => "old";');
    client.output = "";
    client.type("yess\r");
    await client.shows(question);
    expect(client.output).toContain("approve exactly this version");
    expect(client.output).not.toContain("export const execute");
    expect(await lockOf(site).exists()).toBe(false);
    client.type("yes\r");
    expect(await client.ended()).toBe(0);
    expect(await approvedTrees(site)).toEqual({ "hello.ts": treeOfHello(old) });
  });

  test("without names, each module that is not approved is asked about, one at a time, until 'q'", async () => {
    await using site = await Site.create({ "hello.ts": old, "other.ts": other, "third.ts": other });
    await site.start();
    await approveTree(site, "hello", treeOfHello(old));
    await using client = onTerminal(site, "approve");
    await client.shows(/Approve other\.ts, .*\(y\/n\/s\/q\) /);
    expect(client.output).not.toContain("third.ts");
    client.type("y\r");
    await client.shows(/Approve third\.ts, .*\(y\/n\/s\/q\) /);
    client.type("q\r");
    expect(await client.ended()).toBe(0);
    expect(Object.keys(await approvedTrees(site))).toEqual(["hello.ts", "other.ts"]);

    await site.call(["deny", "third"]);
    await using again = onTerminal(site, "approve");
    expect(await again.ended()).toBe(0);
    expect(again.output).toContain("Nothing to approve.");
    expect(again.output).toContain("Denied: third.ts");
  });

  test("what was shown is approved, even if the server has changed it meanwhile, and that is said", async () => {
    await using site = await newSite();
    await using client = onTerminal(site, "approve", "hello");
    await client.shows(question);
    await edit(site, changed);
    client.type("y\r");
    expect(await client.ended()).toBe(0);
    expect(client.output).toContain("changed on the server meanwhile");
    expect(await approvedTrees(site)).toEqual({ "hello.ts": treeOfHello(old) });
    expect((await site.call(["diff", "hello"])).exitCode).toBe(1);
  });

  test("of a module that was approved before, the difference is shown, in colour", async () => {
    await using site = await newSite();
    await approveTree(site, "hello", treeOfHello(old));
    await edit(site, changed);
    await using client = onTerminal(site, "approve", "hello");
    await client.shows(question);
    expect(client.output).toContain('\x1b[31m-export const execute = () => "old";\x1b[39m');
    expect(client.output).toContain('\x1b[32m+export const execute = () => "new";\x1b[39m');
    client.type("y\r");
    expect(await client.ended()).toBe(0);
    expect(await approvedTrees(site)).toEqual({ "hello.ts": treeOfHello(changed) });
  });

  test("approve asks nowhere else: with its output in a pipe it is a usage error, though its input is a terminal", async () => {
    await using site = await newSite();
    const shell = `"${site.client}" --port ${site.port} approve hello | cat; exit $PIPESTATUS`;
    await using client = new Terminal(["bash", "-c", shell], site.path);
    expect(await client.ended()).toBe(2);
    expect(await lockOf(site).exists()).toBe(false);
  });

  test("lists have a header on a terminal, and none in a pipe", async () => {
    await using site = await newSite();
    await using client = onTerminal(site, "list");
    expect(await client.ended()).toBe(0);
    expect(client.screen[0]).toMatch(/^name +tree +state +description$/);
    expect((await site.call(["list"])).stdout).toStartWith("hello.ts");
  });

  test("watch prints the time of each line, and says when a module becomes pending", async () => {
    await using site = await newSite();
    await approveTree(site, "hello", treeOfHello(old));
    await using client = onTerminal(site, "watch");
    await client.shows(/\d\d:\d\d:\d\d.* .*verified.* hello\.ts +[0-9a-f]{16} {2}.*approved/);
    expect(client.output).not.toContain("hello.ts: code");
    await site.write("hello.ts", changed);
    await client.shows(/\d\d:\d\d:\d\d.* .*pending.* hello\.ts: code\. See 'veripy-client diff hello\.ts'/);
    await client.shows(/verified.* hello\.ts +[0-9a-f]{16} {2}.*pending.* \(code\)/);
  });
});

test("watch in a pipe prints no times, says once that nothing is approved, and tells of pending modules as JSON", async () => {
  await using site = await newSite();
  const plain = site.watch(["watch"]);
  await plain.line("verified  other.ts");
  expect(plain.stdout.filter((line) => /^\d\d:/.test(line))).toEqual([]);
  expect(plain.stderr.filter((line) => line.startsWith("consistent, not approved: "))).toHaveLength(1);

  const json = site.watch(["watch", "--json"]);
  await json.line('"mod":"other.ts"');
  await approveTree(site, "hello", treeOfHello(old));
  const line = await json.line('"event":"pending"');
  expect(JSON.parse(line)).toEqual({ event: "pending", mod: "other.ts", state: "pending", changed: ["new"] });
});

test("the sum of what show prints in a pipe is the sum of the file", async () => {
  await using site = await newSite();
  const { stdout } = await site.call(["show", "hello"]);
  expect(sha256(stdout.slice(stdout.indexOf("==> hello.ts <==\n") + 17))).toBe(sha256(old));
});
