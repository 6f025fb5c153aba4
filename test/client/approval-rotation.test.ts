import { expect, test } from "bun:test";
import { copyFile, mkdir, rm } from "node:fs/promises";
import type { Identity } from "../../src/identity/identity.ts";
import { signRotation } from "../../src/identity/rotation-statement.ts";
import type { VeripyClient } from "../../src/index.ts";
import { ApprovalDesk, approve, ended, source, treeOfModule } from "../helpers/approval-desk.ts";
import { newIdentity } from "../helpers/keys.ts";
import type { ScriptedServer } from "../helpers/scripted-server.ts";
import { eventually, within } from "../helpers/within.ts";

const one = source("one");
const two = source("two");

/** The server announces its next key, as it does in every list. */
function announce(server: ScriptedServer, from: Identity, to: Identity): void {
  const rotation = signRotation(from.keyPem, to.keyPem);
  server.lies.sync = (_, answer) => void Object.assign(answer, { rotation });
}

/** A client has seen the proof that `next` follows. Ends the server, whose port is free then. */
async function prove(
  desk: ApprovalDesk,
  server: ScriptedServer,
  from: Identity,
  next: Identity,
): Promise<void> {
  announce(server, from, next);
  using client = await desk.connect({ port: server.port });
  await within(2_000, "the announcement", new Promise((resolve) => client.once("news", resolve)));
  await client.approvals.settled();
}

function reconnected(client: VeripyClient): Promise<unknown> {
  return within(10_000, "the next connection", new Promise((resolve) => client.once("reconnected", resolve)));
}

function disconnected(client: VeripyClient, code: string): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<void>();
  client.on("disconnected", ({ reason }) => reason.code === code && resolve());
  return within(10_000, `a connection that ends with ${code}`, promise);
}

async function keysIn(desk: ApprovalDesk, path?: string): Promise<string[]> {
  return Object.keys((await desk.locked(path)).servers);
}

test("a proven rotation moves the entry, in the lock in use and in the home's", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
  const project = `${desk.home}-project.lock`;
  await desk.approve(["a.ts"], { lock: project });
  {
    using client = await desk.connect();
    await client.approvals.deny("b.ts", treeOfModule("b.ts", two));
  }
  const next = await newIdentity("server");
  await prove(desk, desk.server, desk.identity, next);
  const { port } = desk.server;
  desk.server[Symbol.dispose]();
  await desk.serve({ "a.ts": one, "b.ts": two }, { port, identity: next });
  const client = await desk.connect({ lock: project });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  expect(client.approvals.of("b.ts").state).toBe("denied");
  expect(await keysIn(desk, project)).toEqual([next.fingerprint]);
  expect(await keysIn(desk)).toEqual([next.fingerprint]);
});

test("a running client follows a rotation, and then another", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const client = await desk.connect({ reconnect: true });
  const { port } = desk.server;
  let [server, identity] = [desk.server, desk.identity];
  for (let round = 0; round < 2; round++) {
    const next = await newIdentity("server");
    announce(server, identity, next);
    const told = new Promise((resolve) => client.once("news", resolve));
    await client.sync();
    await within(2_000, "the announcement", told);
    const back = reconnected(client);
    server[Symbol.dispose]();
    ({ server, identity } = await desk.serve({ "a.ts": one, "b.ts": two }, { port, identity: next }));
    await back;
    expect(await ended(client.exec("a.ts"))).toBe("ok");
    expect(await ended(client.exec("b.ts"))).toBe("not_approved");
    expect(await keysIn(desk)).toEqual([next.fingerprint]);
  }
});

test("a proof holds for a lock that was not in use then, and at another address", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
  const project = `${desk.home}-project.lock`;
  await desk.approve(["a.ts"], { lock: project });
  const next = await newIdentity("server");
  await prove(desk, desk.server, desk.identity, next);
  const { port } = desk.server;
  desk.server[Symbol.dispose]();
  await desk.serve({ "a.ts": one, "b.ts": two }, { port, identity: next });
  const moved = await desk.serve({ "a.ts": one, "b.ts": two }, { identity: next });
  await desk.trust(moved.server.port, next);
  // Nothing but the log has the proof now.
  using first = await desk.connect();
  expect(await ended(first.exec("b.ts"))).toBe("ok");
  const copies = [port, moved.server.port].map((at) => ({ at, lock: `${project}.${at}` }));
  for (const { lock } of copies) await copyFile(project, lock);
  for (const { at, lock } of copies) {
    const client = await desk.connect({ port: at, lock });
    expect(await ended(client.exec("b.ts"))).toBe("not_approved");
    expect(await ended(client.exec("a.ts"))).toBe("ok");
    expect(await keysIn(desk, lock)).toEqual([next.fingerprint]);
  }
});

test("a proven rotation holds also where the lock can't be written", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one, "b.ts": two });
  await desk.approve(["a.ts"]);
  const next = await newIdentity("server");
  await prove(desk, desk.server, desk.identity, next);
  const { port } = desk.server;
  desk.server[Symbol.dispose]();
  await desk.serve({ "a.ts": one, "b.ts": two }, { port, identity: next });
  // Nobody can lock the file, not even root.
  await mkdir(`${desk.lock}.lock`);
  for (let round = 0; round < 2; round++) {
    const client = await desk.connect();
    expect(await ended(client.exec("a.ts"))).toBe("ok");
    expect(await ended(client.exec("b.ts"))).toBe("not_approved");
    expect(await keysIn(desk)).toEqual([desk.identity.fingerprint]);
  }
  await rm(`${desk.lock}.lock`, { recursive: true });
  await desk.approve(["b.ts"]);
  expect(await keysIn(desk)).toEqual([next.fingerprint]);
  const client = await desk.connect();
  expect(await ended(client.exec("a.ts"))).toBe("ok");
});

test("another key at the address is refused as a whole; a denial there opens nothing, and an approval ends the old entry", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const { port } = desk.server;
  desk.server[Symbol.dispose]();
  const attacker = await desk.serve({ "a.ts": one, "b.ts": two, "evil.ts": two }, { port });
  expect(await ended(desk.connect())).toBe("untrusted");
  await desk.trust(port, attacker.identity);
  expect(await ended(desk.connect())).toBe("not_approved");
  expect(await ended(desk.connect({ locked: true }))).toBe("not_approved");
  const deciding = await desk.connect({ decide: true });
  for (const mod of ["a.ts", "b.ts"]) {
    expect(deciding.approvals.of(mod)).toEqual({ state: "pending", changed: ["key"] });
    expect(await ended(deciding.exec(mod))).toBe("not_approved");
  }
  await deciding.approvals.deny("evil.ts", treeOfModule("evil.ts", two));
  expect(await ended(deciding.exec("b.ts"))).toBe("not_approved");
  expect(await ended(desk.connect())).toBe("not_approved");
  expect(desk.asked("mod:exec", attacker.server)).toBe(0);
  // The server of the old key is still held to its approvals.
  expect((await keysIn(desk)).sort()).toEqual(
    [desk.identity.fingerprint, attacker.identity.fingerprint].sort(),
  );
  await approve(deciding, "b.ts");
  expect(await ended(deciding.exec("b.ts"))).toBe("ok");
  expect(await ended(deciding.exec("a.ts"))).toBe("not_approved");
  expect(deciding.approvals.of("evil.ts").state).toBe("denied");
  expect(await keysIn(desk)).toEqual([attacker.identity.fingerprint]);
});

test("a key that was typed is not proven by an earlier rotation of the same server", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const client = await desk.connect({ reconnect: true });
  const { port } = desk.server;
  // The entry stays under the first key.
  await mkdir(`${desk.lock}.lock`);
  const next = await newIdentity("server");
  announce(desk.server, desk.identity, next);
  const told = new Promise((resolve) => client.once("news", resolve));
  await client.sync();
  await within(2_000, "the announcement", told);
  const back = reconnected(client);
  desk.server[Symbol.dispose]();
  const rotated = await desk.serve({ "a.ts": one }, { port, identity: next });
  await back;
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  const attacker = await newIdentity("server");
  await desk.trust(port, attacker);
  const refused = disconnected(client, "not_approved");
  rotated.server[Symbol.dispose]();
  const evil = await desk.serve({ "a.ts": one }, { port, identity: attacker });
  await eventually("the end of the connection", () => !client.isConnected);
  const call = ended(client.exec("a.ts", "secret", { timeoutMs: 1_000 }));
  await refused;
  expect(await call).not.toBe("ok");
  expect(evil.server.requests).toEqual([]);
});

test("a call made while a client reconnects waits until it is known what was decided about the server it finds", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  for (const waitForConnection of [true, false]) {
    const { promise: listed, resolve: list } = Promise.withResolvers<void>();
    const client = await desk.connect({ reconnect: true, waitForConnection });
    expect(await ended(client.exec("a.ts"))).toBe("ok");
    const before = desk.server.requests.length;
    desk.server.held["mod:sync"] = listed;
    const back = reconnected(client);
    desk.server.disconnect();
    await eventually("the next list", () => desk.server.requests.length === before + 1);
    const call = ended(client.exec("a.ts"));
    if (!waitForConnection) expect(await call).toBe("unreachable");
    expect(desk.server.requests.slice(before)).toEqual(["mod:sync {}"]);
    list();
    await back;
    if (waitForConnection) expect(await call).toBe("ok");
    desk.server.held = {};
    client.close();
  }
});

test("a lock without the server lets it run everything, unless it is locked; and other servers stay as they are", async () => {
  await using desk = await ApprovalDesk.open({ "a.ts": one });
  await desk.approve(["a.ts"]);
  const other = await desk.serve({ "a.ts": two });
  await desk.trust(other.server.port, other.identity);
  const { port } = other.server;
  expect(await ended(desk.connect({ port, locked: true }))).toBe("not_approved");
  const client = await desk.connect({ port });
  expect(client.approvals.of("a.ts").state).toBe("not approved");
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  const deciding = await desk.connect({ port, locked: true, decide: true });
  expect(await ended(deciding.exec("a.ts"))).toBe("not_approved");
  await approve(deciding, "a.ts");
  expect(await ended(deciding.exec("a.ts"))).toBe("ok");
  expect((await keysIn(desk)).length).toBe(2);
});
