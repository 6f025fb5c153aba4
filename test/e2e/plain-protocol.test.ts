import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines, python, pythonFixture, sha256 } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const greeting = (word: string) => `export const description = "Says ${word}";
export const execute = async (args: string) => "${word} " + args;
`;

describe.skipIf(python === undefined)("a client of the plain protocol, in Python if there is one", () => {
  let site: Site;
  beforeAll(async () => {
    site = await Site.create({ "say.ts": greeting("hi") });
    await site.start();
  });
  afterAll(() => site[Symbol.asyncDispose]());

  const client = (...args: string[]) =>
    pythonFixture("plain_client.py", String(site.port), site.certs, ...args);

  test("lists, verifies by its own hashes, and runs", async () => {
    const { exitCode, stdout, stderr } = await run(client("--exec", "say.ts", "Ann"));
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(jsonLines(stdout)).toMatchObject([
      { event: "verdict", mod: "hello.ts", verified: true },
      { event: "verdict", mod: "say.ts", verified: true, sum: sha256(greeting("hi")) },
      { event: "answer", mod: "say.ts", result: "hi Ann", sum: sha256(greeting("hi")) },
      { event: "ready" },
    ]);
  });

  test("understands the failing answer of a call", async () => {
    const { stdout } = await run(client("--exec", "nothing.ts", ""));
    const answer = jsonLines(stdout).find(({ event }) => event === "answer");
    expect(answer).toMatchObject({ code: "not_found", error: expect.stringContaining("nothing.ts") });
  });

  test("follows loads, reloads and unloads", async () => {
    await using watching = new Running(client("--stay"));
    await watching.line('"ready"');
    await site.write("new.ts", greeting("one"));
    await watching.line((line) => line.includes('"modload"') && line.includes(sha256(greeting("one"))));
    await watching.line(
      (line) => line.includes('"verified": true') && line.includes(sha256(greeting("one"))),
    );
    await site.write("new.ts", greeting("two"));
    await watching.line((line) => line.includes('"modreload"') && line.includes(sha256(greeting("two"))));
    await watching.line(
      (line) => line.includes('"verified": true') && line.includes(sha256(greeting("two"))),
    );
    await rm(join(site.path, "mods/new.ts"));
    await watching.line(/"modunload".*"new.ts"/);
    expect(watching.stdout.join("\n")).not.toContain('"verified": false');
  });
});

describe.skipIf(python === undefined)("a server of the plain protocol, in Python if there is one", () => {
  let site: Site;
  let server: Running;
  let port: number;
  let mods: string;

  beforeAll(async () => {
    site = await Site.create();
    mods = join(site.path, "plain-mods");
    await mkdir(mods);
    await writeFile(join(mods, "say.ts"), greeting("hi"));
    server = new Running(pythonFixture("plain_server.py", site.certs, mods));
    port = JSON.parse(await server.line('"port"')).port;
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await site[Symbol.asyncDispose]();
  });

  const call = (...args: string[]) => site.call(["--port", String(port), ...args]);
  /** As an editor saves: never half a file. */
  const save = async (name: string, text: string) => {
    await writeFile(join(site.path, "saved.tmp"), text);
    await rename(join(site.path, "saved.tmp"), join(mods, name));
  };

  test("is listed and verified, with its description", async () => {
    const listed = await call("list");
    expect(listed).toMatchObject({ exitCode: 0, stderr: "" });
    expect(listed.stdout).toContain("Says hi");
    const verified = await call("verify");
    expect(verified.exitCode).toBe(0);
    expect(verified.stdout).toContain(sha256(greeting("hi")));
  });

  test("does not run modules, and the client says so without asking it to", async () => {
    const refused = await call("exec", "say", "Ann");
    expect(refused).toMatchObject({ exitCode: 3, stdout: "" });
    expect(refused.stderr).toContain("plain form of the protocol");
  });

  test("is watched: loads, reloads, unloads", async () => {
    const watching = site.watch(["--port", String(port), "--json"]);
    await watching.line(/"cause":"sync","verified":true.*"say.ts"/);
    await save("new.ts", greeting("one"));
    await watching.line(
      (line) => line.includes('"cause":"modload","verified":true') && line.includes("new.ts"),
    );
    await save("new.ts", greeting("two"));
    const line = await watching.line('"cause":"modreload","verified":true');
    expect(line).toContain(sha256(greeting("two")));
    await rm(join(mods, "new.ts"));
    await watching.line('"event":"modunload","mod":"new.ts"');
    expect(watching.stdout.join("\n")).not.toContain('"verified":false');
    await watching[Symbol.asyncDispose]();
  });

  test("has never been sent a request that it does not know", async () => {
    const seen = () => jsonLines(server.stdout.join("\n")).flatMap(({ request }) => request ?? []);
    await eventually("the requests of the tests above", () => seen().includes("mod:verify"));
    const requests = seen();
    expect(new Set(requests)).toEqual(new Set(["mod:sync", "mod:verify"]));
    expect(server.stdout.join("\n")).not.toContain("trouble");
  });
});
