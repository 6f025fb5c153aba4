import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { dial, type ParsedFrame, request } from "../helpers/frames.ts";
import { trustEntries, trustText } from "../helpers/keys.ts";
import type { LineClient } from "../helpers/line-client.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines } from "../helpers/tools.ts";
import { eventually, within } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const echo = "export const execute = async (args: string) => args;";
let site: Site;
let server: Running;
let references = 0;

/** A client whose entry the test changes while it is connected. */
interface Member extends Disposable {
  readonly name: string;
  readonly certs: string;
  readonly fingerprint: string;
  readonly connection: LineClient;
}

beforeAll(async () => {
  site = await Site.create({ "deploy.ts": echo, "db-a.ts": echo, "db-b.ts": echo });
  server = await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

const trustPath = () => join(site.path, "trusted-keys.json");

/** Replaces the entry of that name, or adds it; null removes it. */
async function grant(name: string, entry: Record<string, unknown> | null): Promise<void> {
  const others = trustEntries(await readFile(trustPath(), "utf8")).filter(
    (one) => typeof one === "string" || one.name !== name,
  );
  await writeFile(
    `${trustPath()}.new`,
    trustText(...others, ...(entry === null ? [] : [{ ...entry, name }])),
  );
  await rename(`${trustPath()}.new`, trustPath());
}

/** A connected client that may do everything. */
async function member(name: string): Promise<Member> {
  const { certs, fingerprint } = await site.newClient(name);
  await grant(name, { fingerprint });
  const connection = await eventually("the client to be let in", async () => {
    const attempt = await dial(site.port, certs);
    attempt.send("sys:ping:in {}\n");
    await eventually("an answer or an end", () => attempt.isClosed || attempt.lines.length > 0);
    return attempt.lines.length > 0 && attempt;
  });
  return { name, certs, fingerprint, connection, [Symbol.dispose]: () => connection.terminate() };
}

function ask({ connection }: Member, header: string, payload: object): Promise<ParsedFrame> {
  references += 1;
  return request(connection, header, payload, `r${references}`);
}
const exec = (who: Member, mod: string) => ask(who, "mod:exec", { mod, args: "x" });
const codeOf = async (answer: Promise<ParsedFrame>) => (await answer).payload.code ?? "ok";
const visibleTo = async (who: Member, header = "mod:sync") => {
  const { payload } = await ask(who, header, {});
  return (payload.modules as { mod: string }[]).map(({ mod }) => mod).sort();
};

/** Resolves when the next request is answered that way, and fails when that takes longer than a second. */
function withinASecond(what: string, condition: () => Promise<boolean>): Promise<true> {
  return eventually(what, async () => (await condition()) || undefined, 1_000) as Promise<true>;
}

describe("permissions that are narrowed while a client is connected", () => {
  test("apply to its next request within a second; others notice nothing", async () => {
    using alice = await member("alice");
    using bob = await member("bob");
    expect(await codeOf(exec(alice, "deploy.ts"))).toBe("ok");
    await grant("alice", { fingerprint: alice.fingerprint, modules: ["db-*.ts"] });
    await withinASecond(
      "deploy.ts to be forbidden",
      async () => (await codeOf(exec(alice, "deploy.ts"))) === "forbidden",
    );
    expect(await codeOf(exec(alice, "db-a.ts"))).toBe("ok");
    expect(await codeOf(ask(alice, "mod:verify", { mod: "deploy.ts" }))).toBe("forbidden");
    expect(await codeOf(ask(alice, "mod:verify", { mod: "db-b.ts" }))).toBe("ok");
    expect(await visibleTo(alice)).toEqual(["db-a.ts", "db-b.ts"]);
    expect(await visibleTo(alice, "mod:stats")).toEqual(["db-a.ts", "db-b.ts"]);
    expect(await visibleTo(bob)).toEqual(["db-a.ts", "db-b.ts", "deploy.ts", "hello.ts"]);
    expect(await codeOf(exec(bob, "deploy.ts"))).toBe("ok");

    // And wider again.
    await grant("alice", { fingerprint: alice.fingerprint });
    await withinASecond(
      "deploy.ts to be allowed",
      async () => (await codeOf(exec(alice, "deploy.ts"))) === "ok",
    );
    expect([alice.connection.isClosed, bob.connection.isClosed]).toEqual([false, false]);
  });

  test("say who and what in the log, and to the client nothing of modules it may not see", async () => {
    using carol = await member("carol");
    await grant("carol", { fingerprint: carol.fingerprint, modules: ["db-a.ts"] });
    await withinASecond(
      "the edit to count",
      async () => (await codeOf(exec(carol, "hello.ts"))) === "forbidden",
    );
    const hidden = await exec(carol, "deploy.ts");
    const missing = await exec(carol, "no-such.ts");
    expect(hidden.payload).toEqual({ code: "forbidden", error: "This key may not exec deploy.ts." });
    // The same answer for what is there and for what is not.
    expect(missing.payload).toEqual({ code: "forbidden", error: "This key may not exec no-such.ts." });
    const line = await server.line(/Forbidden: carol may not exec deploy\.ts/);
    expect(JSON.parse(line)).toMatchObject({ who: "carol", what: "exec deploy.ts", level: "warning" });
  });

  test("limit actions one by one", async () => {
    using dora = await member("dora");
    const actions = {
      sync: () => codeOf(ask(dora, "mod:sync", {})),
      verify: () => codeOf(ask(dora, "mod:verify", { mod: "hello.ts" })),
      exec: () => codeOf(exec(dora, "hello.ts")),
    };
    for (const [only, allowed] of Object.entries(actions)) {
      await grant("dora", { fingerprint: dora.fingerprint, actions: [only] });
      await withinASecond(`${only} alone to be allowed`, async () => {
        const codes = await Promise.all(Object.values(actions).map((action) => action()));
        return (await allowed()) === "ok" && codes.filter((code) => code === "forbidden").length === 2;
      });
    }
    await grant("dora", { fingerprint: dora.fingerprint, actions: [] });
    await withinASecond("nothing to be allowed", async () => {
      const codes = await Promise.all(Object.values(actions).map((action) => action()));
      return codes.every((code) => code === "forbidden");
    });
    expect((await ask(dora, "sys:ping", {})).header).toBe("sys:pong");
  });

  test("apply to broadcasts: a change of a module is told to those who may see it", async () => {
    using eve = await member("eve");
    using fred = await member("fred");
    await grant("eve", { fingerprint: eve.fingerprint, modules: ["seen-*.ts"] });
    await withinASecond("the edit to count", async () => (await visibleTo(eve)).length === 0);
    await grant("fred", { fingerprint: fred.fingerprint, actions: ["exec"] });
    await withinASecond(
      "the edit to count",
      async () => (await codeOf(ask(fred, "mod:sync", {}))) === "forbidden",
    );
    using all = await member("all");
    await site.write("hidden-x.ts", echo);
    await all.connection.line(/^modload:.*hidden-x\.ts/);
    await site.write("broken-x.ts", "export const execute = 1;");
    await all.connection.line(/^moderror:.*broken-x\.ts/);
    await site.write("seen-x.ts", echo);
    await eve.connection.line(/^modload:.*seen-x\.ts/);
    await all.connection.line(/^modload:.*seen-x\.ts/);
    await ask(fred, "sys:ping", {});
    expect(eve.connection.lines.filter((line) => /hidden-x|broken-x/.test(line))).toEqual([]);
    expect(fred.connection.lines.filter((line) => line.startsWith("mod") && line.includes("-x.ts"))).toEqual(
      [],
    );
  });

  test("let a call that is running end, and refuse the next one", async () => {
    using gina = await member("gina");
    await site.write(
      "wait.ts",
      "export const execute = async () => { await Bun.sleep(600); return 'done'; };",
    );
    await eventually("the module", async () => (await visibleTo(gina)).includes("wait.ts"));
    const running = exec(gina, "wait.ts");
    await grant("gina", { fingerprint: gina.fingerprint, actions: ["sync"] });
    await withinASecond(
      "the edit to count",
      async () => (await codeOf(exec(gina, "hello.ts"))) === "forbidden",
    );
    expect((await running).payload).toMatchObject({ result: "done" });
  });
});

describe("a client that is not to be let in any more", () => {
  test("is cut off when its entry is removed, with the reason; others notice nothing", async () => {
    using hans = await member("hans");
    using ida = await member("ida");
    await grant("hans", null);
    await within(1_000, "the end", hans.connection.closed);
    expect(hans.connection.lines.at(-1)).toMatch(/^sys:error:- .*no longer trusted.*"forbidden"/);
    expect((await ask(ida, "sys:ping", {})).header).toBe("sys:pong");
  });

  test("is cut off when its entry expires, at that time and without an edit", async () => {
    using jan = await member("jan");
    const expires = new Date(Date.now() + 1_500);
    await grant("jan", { fingerprint: jan.fingerprint, expires: expires.toISOString() });
    expect(await codeOf(exec(jan, "hello.ts"))).toBe("ok");
    await within(4_000, "the end", jan.connection.closed);
    const late = Date.now() - expires.getTime();
    expect(late).toBeGreaterThanOrEqual(0);
    expect(late).toBeLessThan(1_000);
    expect(jan.connection.lines.at(-1)).toMatch(/^sys:error:- .*has expired.*"forbidden"/);
    using again = await dial(site.port, jan.certs);
    await within(2_000, "the end", again.closed);
    expect(again.lines).toEqual([]);
    await server.line('"reason":"expired"');
  });

  test("is cut off when its address is not among those it may come from", async () => {
    using kim = await member("kim");
    await grant("kim", { fingerprint: kim.fingerprint, from: ["127.0.0.0/8", "::1"] });
    await grant("kim", { fingerprint: kim.fingerprint, from: ["127.0.0.1"] });
    expect(await codeOf(exec(kim, "hello.ts"))).toBe("ok");
    await grant("kim", { fingerprint: kim.fingerprint, from: ["10.0.0.0/8"] });
    await within(1_000, "the end", kim.connection.closed);
    expect(kim.connection.lines.at(-1)).toMatch(/^sys:error:- .*does not allow the address 127.0.0.1/);
    using again = await dial(site.port, kim.certs);
    await within(2_000, "the end", again.closed);
    await server.line('"reason":"wrong_address"');
  });

  test("is turned away beyond its own number of connections, and may come when one has ended", async () => {
    using lea = await member("lea");
    await grant("lea", { fingerprint: lea.fingerprint, max_connections: 2 });
    using second = await dial(site.port, lea.certs);
    await request(second, "sys:ping", {});
    await withinASecond("the limit to count", async () => {
      using third = await dial(site.port, lea.certs);
      third.send("sys:ping:1 {}\n");
      await eventually("an answer", () => third.lines.length > 0);
      return third.lines[0]?.includes('"busy"') === true;
    });
    expect((await ask(lea, "sys:ping", {})).header).toBe("sys:pong");
    second.terminate();
    await withinASecond("there to be room", async () => {
      using next = await dial(site.port, lea.certs);
      next.send("sys:ping:1 {}\n");
      await eventually("an answer", () => next.lines.length > 0);
      return next.lines[0]?.startsWith("sys:pong") === true;
    });
  });
});

describe("veripy-server policy test", () => {
  const entries = [
    { fingerprint: "a".repeat(64), name: "alice", modules: ["deploy.ts"] },
    { fingerprint: "b".repeat(64), name: "bob", actions: ["verify"], from: ["10.0.0.0/8"] },
    { fingerprint: "c".repeat(64), name: "carol", expires: "2020-01-01" },
  ];
  const policy = (assertions: string, ...flags: string[]) =>
    site.manage(["policy", "test", "-", "--trusted-keys", "policy.json", ...flags], { stdin: assertions });

  beforeAll(async () => {
    await writeFile(join(site.path, "policy.json"), trustText(...entries));
  });

  test("succeeds when all assertions hold", async () => {
    const { exitCode, stdout, stderr } = await policy(
      `alice may exec deploy.ts
       alice may not exec hello.ts # comment
       bob may not sync
       bob may verify hello.ts from 10.1.2.3
       bob may not verify hello.ts from 127.0.0.1
       carol may not sync
       ${"d".repeat(64)} may not sync`,
    );
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain("7 of 7 assertions hold.");
  });

  test("fails with 1 and names each assertion that does not, and why", async () => {
    const { exitCode, stdout } = await policy("alice may exec deploy.ts\nbob may sync\ncarol may sync\n");
    expect(exitCode).toBe(1);
    expect(stdout).toContain("line 2: bob may sync");
    expect(stdout).toContain("line 3: carol may sync");
    expect(stdout).toContain("the entry has expired");
    expect(stdout).toContain("1 of 3 assertions hold.");
  });

  test("goes on after a name that is nobody's, whose line it gives, and fails with 1", async () => {
    const text = "nobody may sync\n\nnobody may not sync\nalice may sync\nbob may sync\n";
    const { exitCode, stdout, stderr } = await policy(text);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "" });
    for (const line of ["line 1: nobody may sync", "line 3: nobody may not sync", "line 5: bob may sync"])
      expect(stdout).toContain(line);
    expect(stdout).toContain("'nobody' is neither a name in the trust file nor a fingerprint");
    expect(stdout).toContain("1 of 4 assertions hold.");
    const inJson = await policy(text, "--json");
    expect(inJson.exitCode).toBe(1);
    expect(jsonLines(inJson.stdout).map(({ line, holds }) => [line, holds])).toEqual([
      [1, false],
      [3, false],
      [4, true],
      [5, false],
    ]);
  });

  test("gives one JSON object for each assertion", async () => {
    const { exitCode, stdout } = await policy("alice may sync\nbob may sync\n", "--json");
    expect(exitCode).toBe(1);
    expect(jsonLines(stdout)).toMatchObject([
      { line: 1, who: "alice", action: "sync", holds: true },
      { line: 2, who: "bob", action: "sync", holds: false, because: "sync is not among its actions" },
    ]);
  });

  test.each([
    ["alice can exec deploy.ts", "not an assertion"],
    ["# nothing", "no assertion"],
  ])("takes %j as a mistake, with 2", async (text, message) => {
    const { exitCode, stderr } = await policy(text);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });
});
