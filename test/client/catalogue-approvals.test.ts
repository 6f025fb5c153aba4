import { afterAll, expect, test } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
import { removeApprovals } from "../../src/index.ts";
import { approve, ended, source, treeOfModule } from "../helpers/approval-desk.ts";
import { CatalogueDesk } from "../helpers/catalogue-desk.ts";
import { LogRecords } from "../helpers/log-records.ts";
import type { ScriptedServer } from "../helpers/scripted-server.ts";
import { eventually } from "../helpers/within.ts";

const logged = new LogRecords();
afterAll(() => logged.stop());

const one = source("one");
const two = source("two");

/** Another server with the same modules and the same catalogue. */
async function member(desk: CatalogueDesk): Promise<{ server: ScriptedServer; fingerprint: string }> {
  const { server, identity } = await desk.approvals.serve({ ...desk.server.modules });
  await desk.approvals.trust(server.port, identity);
  server.catalogue = desk.server.catalogue;
  return { server, fingerprint: identity.fingerprint };
}

test("what is approved for one server of a catalogue is approved for all, and stands under the catalogue's name", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one, "b.ts": one });
  await desk.publish({ serial: 42 });
  await approve(await desk.connect(), "a.ts");
  const { servers, catalogues } = await desk.approvals.locked();
  expect(servers).toEqual({});
  expect(catalogues?.prod).toMatchObject({
    serial: 42,
    modules: { "a.ts": { tree: treeOfModule("a.ts", one) } },
  });
  const { server } = await member(desk);
  const client = await desk.connect({ port: server.port, locked: true });
  expect(client.approvals.of("a.ts").state).toBe("approved");
  expect(client.approvals.of("b.ts")).toEqual({ state: "pending", changed: ["new"] });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  expect(await ended(client.exec("b.ts"))).toBe("not_approved");
});

test("a denial and the end of an approval hold for every server of the catalogue", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one, "b.ts": one });
  await desk.publish();
  const client = await desk.connect();
  for (const mod of ["a.ts", "b.ts"]) await approve(client, mod);
  const { server } = await member(desk);
  const other = await desk.connect({ port: server.port });
  await other.approvals.deny("a.ts", treeOfModule("a.ts", one));
  await other.approvals.unapprove("b.ts");
  await eventually("the lock to be read", () => client.approvals.of("b.ts").state === "pending");
  expect(client.approvals.of("a.ts").state).toBe("denied");
  expect(await ended(client.exec("a.ts"))).toBe("not_approved");
  expect(await ended(client.exec("b.ts"))).toBe("not_approved");
});

test("a server with approvals of its own keeps them, and another server of its catalogue is refused until somebody approves", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one });
  // Approved before there was a catalogue.
  await desk.approvals.approve(["a.ts"]);
  const other = await desk.approvals.serve({ ...desk.server.modules });
  await desk.approvals.trust(other.server.port, other.identity);
  const address = "server.example:8443";
  const keys = [desk.approvals.identity.fingerprint, other.identity.fingerprint];
  await desk.publish({ servers: keys.map((fingerprint) => ({ fingerprint, address })) });
  other.server.catalogue = desk.server.catalogue;
  expect(await ended((await desk.connect()).exec("a.ts"))).toBe("ok");
  expect(await ended(desk.connect({ port: other.server.port }))).toBe("not_approved");
  const deciding = await desk.connect({ port: other.server.port, decide: true });
  expect(deciding.approvals.of("a.ts")).toEqual({ state: "pending", changed: ["key"] });
  await approve(deciding, "a.ts");
  const client = await desk.connect({ port: other.server.port });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  const { servers, catalogues } = await desk.approvals.locked();
  expect(Object.keys(servers)).toEqual([desk.approvals.identity.fingerprint]);
  expect(Object.keys(catalogues?.prod?.modules ?? {})).toEqual(["a.ts"]);
});

test("a server that is known to belong to a catalogue is held to its approvals without signers too", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one, "b.ts": one });
  await desk.publish();
  await approve(await desk.connect(), "a.ts");
  const client = await desk.approvals.connect();
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  expect(await ended(client.exec("b.ts"))).toBe("not_approved");
  // Its decisions go to the same entry.
  await client.approvals.unapprove("a.ts");
  expect((await desk.approvals.locked()).catalogues?.prod?.modules).toEqual({});
});

test("an approval that servers share can be removed without a connection", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one });
  await desk.publish();
  await approve(await desk.connect(), "a.ts");
  const { home, approvals } = desk;
  const { certs: certsDir, lock } = approvals;
  const place = { host: "127.0.0.1", port: desk.server.port, certsDir, home, lock };
  const server = approvals.identity.fingerprint;
  expect(await removeApprovals(place, ["a"])).toEqual([
    { mod: "a.ts", tree: treeOfModule("a.ts", one), server },
  ]);
  const { servers, catalogues } = await approvals.locked();
  expect([servers, catalogues?.prod?.modules]).toEqual([{}, {}]);
  await expect(removeApprovals(place, ["a"])).rejects.toMatchObject({ code: "not_found" });
});

test("a lock remembers the serial, so that an empty home is protected from older catalogues too", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one });
  const old = await desk.publish({ serial: 41 });
  await approve(await desk.connect(), "a.ts");
  await desk.publish({ serial: 42 });
  await desk.connect();
  expect((await desk.approvals.locked()).catalogues?.prod?.serial).toBe(42);
  desk.server.catalogue = old;
  const home = `${desk.home}-ci`;
  const error = await desk.connect({ home }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "not_signed" });
  expect(await desk.evidence(home)).toHaveLength(1);
  // Another text with that serial.
  desk.server.catalogue = await desk.signed({ serial: 42, files: {} });
  expect(await ended(desk.connect({ home }))).toBe("not_signed");
});

test("a locked client leaves the lock as it is, and so does one without a lock", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one });
  await desk.publish({ serial: 1 });
  await desk.connect();
  expect(await Bun.file(desk.approvals.lock).exists()).toBe(false);
  await approve(await desk.connect(), "a.ts");
  const before = await readFile(desk.approvals.lock, "utf8");
  await desk.publish({ serial: 2 });
  expect((await desk.connect({ locked: true })).catalogue.signature?.serial).toBe(2);
  expect(await readFile(desk.approvals.lock, "utf8")).toBe(before);
});

test("a lock whose catalogue entry was changed by hand is refused", async () => {
  await using desk = await CatalogueDesk.open({ "a.ts": one });
  await desk.publish();
  await approve(await desk.connect(), "a.ts");
  const good = await readFile(desk.approvals.lock, "utf8");
  for (const [from, to] of [
    [treeOfModule("a.ts", one), treeOfModule("a.ts", two)],
    ['"prod"', '"../prod"'],
    ['"serial": 1', '"serial": 0'],
    ['"serial": 1', '"serial": 1, "trusted": true'],
  ] as const) {
    await writeFile(desk.approvals.lock, good.replace(from, to));
    expect(await ended(desk.connect())).toBe("bad_config");
  }
  await writeFile(desk.approvals.lock, good);
  expect(await ended((await desk.connect()).exec("a.ts"))).toBe("ok");
});
