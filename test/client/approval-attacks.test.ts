import { afterAll, expect, test } from "bun:test";
import { readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { VerifiedModule } from "../../src/index.ts";
import { ApprovalDesk, approve, ended, source, treeOfModule } from "../helpers/approval-desk.ts";
import { LogRecords } from "../helpers/log-records.ts";
import type { ScriptedServer } from "../helpers/scripted-server.ts";
import { eventually, within } from "../helpers/within.ts";

const logged = new LogRecords();
afterAll(() => logged.stop());

const one = source("one");
const two = source("two");
const treeOfOne = treeOfModule("a.ts", one);
const treeOfTwo = treeOfModule("a.ts", two);

async function verified(
  client: Awaited<ReturnType<ApprovalDesk["connect"]>>,
  mod: string,
): Promise<VerifiedModule> {
  const verdict = await client.verify(mod);
  if (!verdict.verified) throw new Error("not verified");
  return verdict;
}

/** Replaces a module, and tells the clients. */
function edit(server: ScriptedServer, mod: string, next: typeof one): void {
  server.modules[mod] = next;
  server.broadcast("modreload", server.report(mod));
}

/** Answers a call of any version but the current one as a server does that has retained none. */
function retainNothing(server: ScriptedServer): void {
  server.lies.exec = (answer, { tree }) => {
    if (tree === answer.tree) return;
    for (const key of Object.keys(answer)) delete (answer as Partial<typeof answer>)[key as "mod"];
    Object.assign(answer, { error: "no such version", code: "version_mismatch", started: false });
  };
}

/** Runs the version that was asked for, as a server does that has retained it. */
function retainEverything(server: ScriptedServer): void {
  server.lies.exec = (answer, { tree }) => {
    if (tree === treeOfOne)
      Object.assign(answer, { tree, sum: new Bun.SHA256().update(one.content).digest("hex") });
  };
}

test("what was shown is approved, even if the server has replaced it since; the new version does not run", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  retainNothing(desk.server);
  const client = await desk.connect();
  const shown = await verified(client, "a.ts");
  edit(desk.server, "a.ts", two);
  await eventually("the news", () => client.reports.get("a.ts")?.tree === treeOfTwo);
  await client.approvals.approve(shown);
  expect((await desk.locked()).servers[desk.identity.fingerprint]?.modules?.["a.ts"]?.tree).toBe(
    treeOfOne as never,
  );
  expect(client.approvals.of("a.ts")).toEqual({ state: "pending", changed: ["code"] });
  await expect(client.exec("a.ts")).rejects.toMatchObject({ code: "not_approved", started: false });
});

test("a module swapped after its approval runs in the approved version, or not at all", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  retainEverything(desk.server);
  const client = await desk.connect();
  expect((await client.exec("a.ts")).tree).toBe(treeOfOne);
  edit(desk.server, "a.ts", two);
  await eventually("the news", () => client.reports.get("a.ts")?.tree === treeOfTwo);
  expect((await client.exec("a.ts")).tree).toBe(treeOfOne);
  retainNothing(desk.server);
  expect(await ended(client.exec("a.ts"))).toBe("not_approved");
  expect(await ended(client.exec("a.ts", "", { tree: treeOfTwo }))).toBe("not_approved");
  expect(
    desk.server.requests.filter((line) => line.startsWith("mod:exec") && line.includes(treeOfTwo)),
  ).toEqual([]);
});

test("an answer of another version than the approved one is not a result", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const client = await desk.connect();
  desk.server.lies.exec = (answer) => Object.assign(answer, { tree: treeOfTwo });
  expect(await ended(client.exec("a.ts"))).toBe("verification_failed");
  desk.server.lies = {};
  expect(await ended(client.exec("a.ts"))).toBe("ok");
});

test("a report of the approved tree with other bytes is caught, and nothing is called", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  desk.server.modules["a.ts"] = two;
  const lie = (report: { tree?: string }) => void Object.assign(report, { tree: treeOfOne });
  desk.server.lies = { sync: (modules) => modules.forEach(lie), verify: lie };
  const client = await desk.connect();
  expect((await client.verify("a.ts")).verified).toBe(false);
  expect(await ended(client.exec("a.ts"))).toBe("verification_failed");
  expect(desk.asked("mod:exec")).toBe(0);
});

test("a renamed module inherits nothing", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  delete desk.server.modules["a.ts"];
  for (const mod of ["b.ts", "a", "a.js", "constructor", "__proto__", "a.ts\u200b"]) {
    Object.defineProperty(desk.server.modules, mod, { value: one, enumerable: true, configurable: true });
  }
  const client = await desk.connect();
  expect(client.reports.size).toBe(6);
  for (const mod of client.reports.keys()) {
    expect(client.approvals.of(mod)).toEqual({ state: "pending", changed: ["new"] });
    expect(await ended(client.exec(mod))).toBe("not_approved");
    await client.approvals.deny(mod, treeOfModule(mod, one)).catch(() => {});
    expect(await ended(client.exec(mod))).toBe("not_approved");
  }
  expect(desk.asked("mod:exec")).toBe(0);
  // The lock can be read, and has taken every name but the one that no JSON object can safely have.
  const { denied = {} } = (await desk.locked()).servers[desk.identity.fingerprint] ?? {};
  expect(Object.keys(denied).sort()).toEqual(["a", "a.js", "a.ts\u200b", "b.ts", "constructor"]);
});

test.each([
  ["description", { desc: "does something else" }],
  ["schema", { input: { type: "object", properties: { path: { type: "string" } } } }],
] as const)(
  "a %s changed without the code makes a module pending, and its approved code still runs",
  async (change, lie) => {
    await using desk = await ApprovalDesk.open({ "a.ts": one });
    await desk.approve(["a.ts"]);
    desk.server.lies.sync = (modules) => modules.forEach((report) => void Object.assign(report, lie));
    desk.server.lies.verify = (answer) => void Object.assign(answer, lie);
    const client = await desk.connect();
    expect(client.approvals.of("a.ts")).toEqual({ state: "pending", changed: [change] });
    expect((await client.exec("a.ts")).tree).toBe(treeOfOne);
    await approve(client, "a.ts");
    expect(client.approvals.of("a.ts").state).toBe("approved");
  },
);

test("a server that serves one thing to one client and another to the next is noticed by the next", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  desk.server.modules["a.ts"] = two;
  retainNothing(desk.server);
  // Another user, with the committed lock and a home of their own.
  const colleague = await desk.connect({ home: `${desk.home}-2` });
  expect(colleague.approvals.of("a.ts").state).toBe("pending");
  expect(await ended(colleague.exec("a.ts"))).toBe("not_approved");
  const difference = await colleague.approvals.difference("a.ts", await verified(colleague, "a.ts"));
  // Their store has never had the approved version, and says so rather than showing an empty difference.
  expect(difference.files).toMatchObject([{ path: "a.ts", change: "changed", patch: undefined }]);
});

test.each([
  ["a schema nested too deeply for a lock", { input: deep(40) }],
  ["a description too long for a lock", { desc: "x".repeat(100_000) }],
  ["a schema with the key __proto__", { input: JSON.parse('{"__proto__": {"type": "string"}}') as object }],
])("%s can't be approved, and leaves the lock as it was", async (_, lie) => {
  await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
  await desk.approve(["b.ts"]);
  const before = await Bun.file(desk.lock).text();
  const tell = (report: object & { mod: string }) => {
    if (report.mod !== "a.ts") return;
    for (const [key, value] of Object.entries(lie)) Object.assign(report, { [key]: value });
  };
  desk.server.lies = { sync: (modules) => modules.forEach(tell), verify: tell };
  const client = await desk.connect();
  const verdict = await client.verify("a.ts").catch(() => undefined);
  const outcome = verdict?.verified === true ? await ended(client.approvals.approve(verdict)) : "refused";
  const after = await Bun.file(desk.lock).text();
  // What the protocol has dropped already can be approved without it.
  if (outcome === "ok") expect(client.approvals.of("a.ts").state).toBe("approved");
  else expect(after).toBe(before);
  expect(Object.keys((await desk.locked()).servers)).toEqual([desk.identity.fingerprint]);
});

function deep(levels: number): Record<string, unknown> {
  return levels === 0 ? {} : { not: deep(levels - 1) };
}

test("a denial of the home holds against an approval of the lock in use", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  const projectLock = `${desk.home}-project.lock`;
  await desk.approve(["a.ts"], { lock: projectLock });
  const client = await desk.connect({ lock: projectLock });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  {
    using other = await desk.connect();
    await other.approvals.deny("a.ts", treeOfOne);
  }
  // The other client is told by the file alone, within a second.
  await eventually("the denial", () => client.approvals.of("a.ts").state === "denied", 1_500);
  expect(await ended(client.exec("a.ts"))).toBe("not_approved");
  expect(await ended(client.exec("a.ts", "", { tree: treeOfOne }))).toBe("not_approved");
  const fresh = await desk.connect({ lock: projectLock });
  expect(await ended(fresh.exec("a.ts"))).toBe("not_approved");
  const { lock: _, ...withoutLock } = { lock: projectLock };
  const unlocked = await desk.connect({ ...withoutLock, lock: `${desk.home}-none.lock` });
  expect(await ended(unlocked.exec("a.ts"))).toBe("not_approved");
  expect(desk.asked("mod:exec")).toBe(1);
});

test("an approval that is taken back while a call is being prepared no longer counts, then or later", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  for (const file of await readdir(join(desk.home, "store"))) await rm(join(desk.home, "store", file));
  const client = await desk.connect();
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  desk.server.held["mod:verify"] = answered;
  const call = ended(client.exec("a.ts"));
  await eventually("the verification", () => desk.asked("mod:verify") === 2);
  await client.approvals.unapprove("a.ts");
  answer();
  expect(await call).toBe("not_approved");
  expect(await ended(client.exec("a.ts"))).toBe("not_approved");
  expect(desk.asked("mod:exec")).toBe(0);
});

test("a lock that another program edits counts within a second; one that is broken or removed changes nothing", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
  await desk.approve(["a.ts"]);
  const client = await desk.connect({ reconnect: true });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  expect(await ended(client.exec("b.ts"))).toBe("not_approved");
  const good = await Bun.file(desk.lock).text();
  const pending = new Promise((resolve) => client.once("pending", resolve));

  const damages: [RegExp, () => Promise<void>][] = [
    [/veripy\.lock: line \d+/, () => writeFile(desk.lock, good.slice(0, 100))],
    [/veripy\.lock is no longer there/, () => rm(desk.lock)],
  ];
  for (const [said, damage] of damages) {
    await logged.start();
    await damage();
    await eventually("the log", () => logged.texts.some((text) => said.test(text)), 1_500);
    expect(await ended(client.exec("a.ts"))).toBe("ok");
    expect(await ended(client.exec("b.ts"))).toBe("not_approved");
    // Also over the next connection.
    desk.server.disconnect();
    await within(5_000, "the next connection", new Promise((resolve) => client.once("reconnected", resolve)));
    expect(await ended(client.exec("b.ts"))).toBe("not_approved");
  }
  await writeFile(
    `${desk.lock}.new`,
    good.replaceAll(`"a.ts"`, `"b.ts"`).replaceAll(treeOfOne, treeOfModule("b.ts", one)),
  );
  await rename(`${desk.lock}.new`, desk.lock);
  await within(1_500, "the edit", pending);
  expect(client.approvals.of("a.ts")).toEqual({ state: "pending", changed: ["new"] });
  expect(await ended(client.exec("a.ts"))).toBe("not_approved");
  // A new program says what is wrong instead of going on without a lock.
  await writeFile(desk.lock, good.slice(0, 100));
  expect(await ended(desk.connect())).toBe("bad_config");
});

test("a module becomes pending once for each version", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const client = await desk.connect();
  const told: string[] = [];
  client.on("pending", ({ mod, approval }) => told.push(`${mod} ${approval.changed.join()}`));
  const settle = () => client.sync();
  await settle();
  expect(told).toEqual([]);
  edit(desk.server, "a.ts", two);
  await settle();
  await client.verify("a.ts");
  await settle();
  expect(told).toEqual(["a.ts code"]);
  edit(desk.server, "a.ts", source("three"));
  desk.server.broadcast("modreload", desk.server.report("a.ts"));
  await settle();
  expect(told).toEqual(["a.ts code", "a.ts code"]);
  edit(desk.server, "a.ts", one);
  await settle();
  edit(desk.server, "a.ts", two);
  await settle();
  expect(told).toHaveLength(3);
  await client.approvals.unapprove("a.ts");
  await settle();
  expect(told).toHaveLength(3);
  desk.server.broadcast("modunload", { mod: "a.ts" });
  desk.server.broadcast("modload", desk.server.report("a.ts"));
  await settle();
  expect(told).toHaveLength(4);
});

test("a second connection, a reconnect and a second program ask for nothing but the list", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": { ...one, files: { "lib/x.ts": "export {};\n" } } });
  await desk.approve(["a.ts"]);
  expect(desk.asked("mod:verify")).toBe(1);
  const before = desk.server.requests.length;
  const client = await desk.connect({ reconnect: true });
  expect((await client.verify("a.ts")).verified).toBe(true);
  expect(desk.server.requests.slice(before)).toEqual(["mod:sync {}"]);
  await client.exec("a.ts");
  desk.server.disconnect();
  await within(5_000, "the next connection", new Promise((resolve) => client.once("reconnected", resolve)));
  expect((await client.verify("a.ts")).verified).toBe(true);
  await client.exec("a.ts");
  expect(desk.server.requests.slice(before).map((line) => line.split(" ")[0])).toEqual([
    "mod:sync",
    "mod:exec",
    "mod:sync",
    "mod:exec",
  ]);
});

test("every file of the store is fetched again when it was changed, and what was changed is never shown as approved", async () => {
  const module = { ...one, files: { "lib/x.ts": "export {};\n" } };
  await using desk = await ApprovalDesk.open({ "a.ts": module });
  await desk.approve(["a.ts"]);
  const store = join(desk.home, "store");
  const names = await readdir(store);
  expect(names).toHaveLength(3);
  for (const [index, name] of names.entries()) {
    await writeFile(join(store, name), "tampered");
    using client = await desk.connect();
    const verdict = await verified(client, "a.ts");
    expect(verdict.files.map(({ content }) => content)).toEqual([one.content, "export {};\n"]);
    expect(desk.asked("mod:verify")).toBe(2 + index);
    await client.approvals.settled();
    expect(await Bun.file(join(store, name)).text()).not.toBe("tampered");
  }
  desk.server.modules["a.ts"] = two;
  for (const name of names) await writeFile(join(store, name), "tampered");
  const client = await desk.connect();
  const difference = await client.approvals.difference("a.ts", await verified(client, "a.ts"));
  expect(difference.files.map(({ patch }) => patch)).toEqual([undefined, undefined]);
});

test("a plain server is verified against the lock, and not called", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  desk.server.lies = {
    sync: (modules) => {
      for (const report of modules) delete report.tree;
    },
    verify: (answer) => {
      delete answer.tree;
      delete answer.files;
    },
  };
  await desk.approve(["a.ts"]);
  const client = await desk.connect();
  expect((await client.verify("a.ts")).verified).toBe(true);
  expect(client.approvals.of("a.ts").state).toBe("approved");
  expect(await ended(client.exec("a.ts"))).toBe("unsupported");
  desk.server.modules["a.ts"] = two;
  await client.sync();
  expect(client.approvals.of("a.ts")).toEqual({ state: "pending", changed: ["code"] });
  expect(await ended(client.exec("a.ts"))).toBe("unsupported");
  await client.approvals.deny("a.ts", treeOfTwo);
  await client.verify("a.ts");
  expect(client.approvals.of("a.ts").state).toBe("denied");
  expect(desk.asked("mod:exec")).toBe(0);
});

test("a version that is approved while a call finds the earlier one gone runs instead", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const client = await desk.connect();
  await client.exec("a.ts");
  edit(desk.server, "a.ts", two);
  retainNothing(desk.server);
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  desk.server.held["mod:exec"] = answered;
  const call = client.exec("a.ts");
  await eventually("the news", () => client.reports.get("a.ts")?.tree === treeOfTwo);
  await approve(client, "a.ts");
  answer();
  expect((await call).tree).toBe(treeOfTwo);
});

test("a call of a governed server is sent at once, like one of any other", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const client = await desk.connect();
  await client.exec("a.ts");
  await client.approvals.deny("other.ts", treeOfTwo);
  await client.exec("a.ts");
  const before = desk.server.requests.length;
  const calls = Array.from({ length: 50 }, () => client.exec("a.ts"));
  // Queued behind the calls only if these were written in this turn.
  const ping = client.sync();
  await Promise.all([...calls, ping]);
  const kinds = desk.server.requests.slice(before).map((line) => line.split(" ")[0]);
  expect(kinds).toEqual([...Array.from({ length: 50 }, () => "mod:exec"), "mod:sync"]);
});

test("two clients in one home that approve at once both leave their approval", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
  const clients = [await desk.connect(), await desk.connect()];
  const [a, b] = clients;
  if (a === undefined || b === undefined) throw new Error("unreachable");
  await Promise.all([approve(a, "a.ts"), approve(b, "b.ts")]);
  expect(Object.keys((await desk.locked()).servers[desk.identity.fingerprint]?.modules ?? {})).toEqual([
    "a.ts",
    "b.ts",
  ]);
  for (const client of clients)
    await eventually(
      "both approvals",
      () =>
        client.approvals.of("a.ts").state === "approved" && client.approvals.of("b.ts").state === "approved",
    );
});
