import { afterAll, describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { approve, ended, source, treeOfModule } from "../helpers/approval-desk.ts";
import { CatalogueDesk } from "../helpers/catalogue-desk.ts";
import { CatalogueSigner, sshVerify, timeIn } from "../helpers/catalogue-signer.ts";
import { LogRecords } from "../helpers/log-records.ts";
import type { ScriptedModule } from "../helpers/scripted-server.ts";
import { eventually } from "../helpers/within.ts";

const logged = new LogRecords();
afterAll(() => logged.stop());

const one = source("one");
const two = source("two");
const day = 86_400_000;

async function open(modules: Record<string, ScriptedModule> = { "a.ts": one }): Promise<CatalogueDesk> {
  return CatalogueDesk.open(modules);
}

test("what a signed catalogue lists is verified and runs, and says who signed it", async () => {
  await using desk = await open();
  await desk.publish({ serial: 42 });
  const client = await desk.connect();
  const signature = { principal: "ops@example", serial: 42, name: "prod" };
  expect(client.catalogue.signature).toEqual(signature);
  expect(await client.verify("a.ts")).toMatchObject({ verified: true, signed: signature });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
});

test("a second connection asks for no catalogue and no source", async () => {
  await using desk = await open();
  await desk.publish();
  const first = await desk.connect();
  await first.verify("a.ts");
  await first.approvals.settled();
  const second = await desk.connect();
  expect(await second.verify("a.ts")).toMatchObject({ verified: true });
  expect(desk.server.requests.filter((line) => line.startsWith("sys:catalogue"))).toHaveLength(1);
  expect(desk.approvals.asked("mod:verify")).toBe(1);
});

test("a module that the catalogue lacks, or has otherwise, is rejected and not called", async () => {
  await using desk = await open();
  await desk.publish();
  desk.server.modules["a.ts"] = two;
  desk.server.modules["b.ts"] = one;
  const client = await desk.connect();
  for (const mod of ["a.ts", "b.ts"]) {
    const verdict = await client.verify(mod);
    expect(verdict).toMatchObject({ verified: false, mismatches: [{ by: "the catalogue prod, serial 1" }] });
    expect(await ended(client.exec(mod))).toBe("verification_failed");
  }
  expect(desk.approvals.asked("mod:exec")).toBe(0);
});

test("an imported file that the catalogue has otherwise is enough to reject a module", async () => {
  const imports = { content: 'import { x } from "./lib/x.ts";\nexport const execute = () => x;\n' };
  await using desk = await open({ "a.ts": { ...imports, files: { "lib/x.ts": "export const x = '1';\n" } } });
  await desk.publish();
  const client = await desk.connect();
  expect((await client.verify("a.ts")).verified).toBe(true);
  desk.server.modules["a.ts"] = { ...imports, files: { "lib/x.ts": "export const x = '2';\n" } };
  const other = await desk.connect();
  expect(await other.verify("a.ts")).toMatchObject({ verified: false, mismatches: [{ what: "lib/x.ts" }] });
});

describe("a server is refused with 'not_signed'", () => {
  const refused = async (desk: CatalogueDesk, options = {}) => {
    const error = await desk.connect(options).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "not_signed" });
    expect(desk.approvals.asked("mod:exec")).toBe(0);
    return String(error);
  };

  test("when its catalogue was changed after it was signed", async () => {
    await using desk = await open();
    const { text, signature } = await desk.publish();
    desk.server.catalogue = { text: text.replace("# serial 1", "# serial 2"), signature };
    expect(await refused(desk)).toContain("its signature does not fit its text");
  });

  test("when the signature is for another namespace", async () => {
    await using desk = await open();
    const { text } = await desk.signed();
    desk.server.catalogue = await desk.signer.sign(text, "file");
    expect(await refused(desk)).toContain("namespace 'file'");
  });

  test("when somebody else has signed it", async () => {
    await using desk = await open();
    const other = await CatalogueSigner.create(dirname(desk.home), "other");
    desk.server.catalogue = await other.sign((await desk.signed()).text);
    expect(await refused(desk)).toContain("none of the allowed signers'");
    // The twin: once that key is allowed, for the principal that is asked for.
    await writeFile(desk.signers, `${await desk.signer.line()}${await other.line("dev@example")}`);
    expect((await desk.connect()).catalogue.signature?.principal).toBe("dev@example");
    expect(await refused(desk, { signer: "ops@example" })).toContain("its key is not ops@example's");
  });

  test("when it has none, withholds it, or speaks only the plain protocol", async () => {
    await using desk = await open();
    expect(await refused(desk)).toContain("the server gives none");
    await desk.publish();
    desk.server.catalogueAnswer = { error: "unknown request", code: "bad_request" };
    expect(await refused(desk)).toContain("the server gives none");
    // A plain server is not asked for what it does not know.
    desk.server.lies.sync = (modules) => modules.forEach((report) => void delete report.tree);
    const asked = () => desk.server.requests.filter((line) => line.startsWith("sys:catalogue")).length;
    const before = asked();
    expect(await refused(desk)).toContain("plain form of the protocol");
    expect(asked()).toBe(before);
  });

  test("when it hides from a sync that it has one, once the catalogue is no longer signed", async () => {
    await using desk = await open();
    await desk.publish();
    await desk.connect();
    desk.server.lies.sync = (_, answer) => void delete answer.catalogue;
    // It still gives a good one when asked.
    expect((await desk.connect()).catalogue.isUsable).toBe(true);
    desk.server.catalogue = undefined;
    await refused(desk);
  });

  test("when this client may not read the catalogue, with the server's reason", async () => {
    await using desk = await open();
    desk.server.catalogueAnswer = { error: "this key may sync only a.ts", code: "forbidden" };
    expect(await refused(desk)).toContain("this key may sync only a.ts");
  });

  test("when it has expired, or comes from the future", async () => {
    await using desk = await open();
    await desk.publish({ issued: timeIn(-2 * day), expires: timeIn(-day) });
    expect(await refused(desk)).toContain("expired");
    await desk.publish({ issued: timeIn(2 * day) });
    expect(await refused(desk)).toContain("in the future");
    await desk.publish({ serial: 2, issued: timeIn(-day), expires: timeIn(day) });
    expect((await desk.connect()).catalogue.isUsable).toBe(true);
  });

  test("when it is not among the servers that the catalogue is for", async () => {
    await using desk = await open();
    const address = "server1.example:8443";
    await desk.publish({ servers: [{ fingerprint: "a".repeat(64), address }] });
    expect(await refused(desk)).toContain("not among them");
    const { fingerprint } = desk.approvals.identity;
    await desk.publish({ serial: 2, servers: [{ fingerprint, address }] });
    expect((await desk.connect()).catalogue.isUsable).toBe(true);
  });

  test("when it goes back to an older catalogue, also for a client with nothing but its home", async () => {
    await using desk = await open();
    const old = await desk.publish({ serial: 41 });
    await desk.publish({ serial: 42 });
    await desk.connect();
    desk.server.catalogue = old;
    const message = await refused(desk);
    expect(message).toContain("it has the serial 41, and serial 42 was accepted before");
    const evidence = await desk.evidence();
    expect(evidence).toHaveLength(2);
    for (const file of evidence) {
      expect(message).toContain(file);
      expect(await sshVerify(file, desk.signers)).toBe(true);
    }
    // The twin: a client that has seen nothing yet can't know better.
    expect((await desk.connect({ home: `${desk.home}-2` })).catalogue.signature?.serial).toBe(41);
  });

  test("when two servers give two texts of one serial: both are kept, and ssh-keygen says that both were signed", async () => {
    await using desk = await open();
    await desk.publish();
    await desk.connect();
    const member = await desk.approvals.serve({ "a.ts": two });
    await desk.approvals.trust(member.server.port, member.identity);
    await desk.publish({}, member.server);
    expect(await refused(desk, { port: member.server.port })).toContain("another text with the same serial");
    const evidence = await desk.evidence();
    expect(evidence).toHaveLength(2);
    for (const file of evidence) expect(await sshVerify(file, desk.signers)).toBe(true);
  });

  test("when its catalogue has another name than before", async () => {
    await using desk = await open();
    await desk.publish({ serial: 42 });
    await desk.connect();
    await desk.publish({ name: "test", serial: 50 });
    expect(await refused(desk)).toContain("its name is test, and this server's catalogue was prod before");
  });

  test("when the signers' file is missing or broken, as wrong configuration", async () => {
    await using desk = await open();
    await desk.publish();
    expect(await ended(desk.connect({ signers: join(desk.home, "none") }))).toBe("bad_config");
    await writeFile(desk.signers, "ops@example ssh-ed25519 !\n");
    expect(await ended(desk.connect())).toBe("bad_config");
  });
});

test("a catalogue whose text in the home was changed is fetched again", async () => {
  await using desk = await open();
  await desk.publish();
  await desk.connect();
  await writeFile(join(desk.home, "catalogues", "prod.catalogue"), "changed");
  expect((await desk.connect()).catalogue.isUsable).toBe(true);
  expect(desk.server.requests.filter((line) => line.startsWith("sys:catalogue"))).toHaveLength(2);
});

test("a catalogue that is announced is taken up, with what it allows", async () => {
  await using desk = await open();
  await desk.publish();
  const client = await desk.connect();
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  // The news of the module comes first.
  desk.server.modules["a.ts"] = two;
  desk.server.broadcast("modreload", desk.server.report("a.ts"));
  await eventually("the news", () => client.reports.get("a.ts")?.tree === treeOfModule("a.ts", two));
  expect(await ended(client.exec("a.ts"))).toBe("verification_failed");
  await desk.publish({ serial: 2 });
  desk.announce();
  await eventually("the catalogue", () => client.catalogue.signature?.serial === 2);
  expect(await client.verify("a.ts")).toMatchObject({ verified: true, signed: { serial: 2 } });
  expect(await ended(client.exec("a.ts"))).toBe("ok");
});

test("an announced catalogue that removes a module ends its calls, without other news of it", async () => {
  await using desk = await open();
  await desk.publish();
  const client = await desk.connect();
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  await desk.publish({ serial: 2, files: {} });
  desk.announce();
  await eventually("the catalogue", () => client.catalogue.signature?.serial === 2);
  expect(await ended(client.exec("a.ts"))).toBe("verification_failed");
  const tree = treeOfModule("a.ts", one);
  expect(["verification_failed", "not_signed"]).toContain(await ended(client.exec("a.ts", "", { tree })));
  expect(desk.approvals.asked("mod:exec")).toBe(1);
});

test("an announced catalogue that is refused changes nothing, and is reported", async () => {
  await using desk = await open();
  await desk.publish({ serial: 2 });
  const client = await desk.connect();
  const news = new Promise<unknown>((resolve) => client.once("catalogue", resolve));
  await desk.publish({ serial: 1, files: {} });
  desk.announce();
  expect(await news).toMatchObject({ error: { code: "not_signed" } });
  expect(client.catalogue.signature?.serial).toBe(2);
  expect(await ended(client.exec("a.ts"))).toBe("ok");
});

test("a catalogue that expires while it is used ends the calls", async () => {
  await using desk = await open();
  await desk.publish({ expires: timeIn(4_000) });
  const client = await desk.connect();
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  await eventually("the expiry", () => !client.catalogue.isUsable);
  expect(await ended(client.exec("a.ts"))).toBe("not_signed");
  expect(await ended(client.verify("a.ts"))).toBe("not_signed");
});

test("a signer who is removed while a client is connected ends the calls, and one who returns allows them", async () => {
  await using desk = await open();
  await desk.publish();
  const client = await desk.connect();
  const other = await CatalogueSigner.create(dirname(desk.home), "other");
  await writeFile(desk.signers, await other.line());
  await eventually("the refusal", () => !client.catalogue.isUsable);
  expect(await ended(client.exec("a.ts"))).toBe("not_signed");
  // A file that can't be read says nothing.
  await writeFile(desk.signers, "junk\n");
  await writeFile(desk.signers, await desk.signer.line());
  await eventually("the return", () => client.catalogue.isUsable);
  expect(await ended(client.exec("a.ts"))).toBe("ok");
});

test("approvals and signatures must both hold", async () => {
  await using desk = await open({ "a.ts": one, "b.ts": one });
  await desk.publish();
  const client = await desk.connect();
  await approve(client, "a.ts");
  expect(await ended(client.exec("a.ts"))).toBe("ok");
  // Signed, not approved.
  expect(await ended(client.exec("b.ts"))).toBe("not_approved");
  // Approved, no longer signed: the server may still retain the version.
  await desk.publish({ serial: 2, files: {} });
  desk.announce();
  await eventually("the catalogue", () => client.catalogue.signature?.serial === 2);
  const calls = desk.approvals.asked("mod:exec");
  expect(await ended(client.exec("a.ts"))).toBe("not_signed");
  expect(desk.approvals.asked("mod:exec")).toBe(calls);
});

test("a version that is named without having been verified here does not run", async () => {
  await using desk = await open();
  await desk.publish();
  const client = await desk.connect();
  expect(await ended(client.exec("a.ts", "", { tree: treeOfModule("a.ts", two) }))).toBe("not_signed");
  expect(await ended(client.exec("a.ts", "", { tree: treeOfModule("a.ts", one) }))).toBe("not_signed");
  const tree = await client.prepare("a.ts");
  expect(await ended(client.exec("a.ts", "", { tree }))).toBe("ok");
});

test("a client without signers is not told of catalogues, and asks for none", async () => {
  await using desk = await open();
  await desk.publish();
  const client = await desk.approvals.connect();
  desk.announce();
  expect(await client.verify("a.ts")).not.toHaveProperty("signed");
  expect(client.catalogue.signature).toBeUndefined();
  expect(desk.server.requests.some((line) => line.startsWith("sys:catalogue"))).toBe(false);
});
