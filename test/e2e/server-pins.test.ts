import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";

setDefaultTimeout(30_000);

let site: Site;
let fingerprint: string;
const other = "ab".repeat(32);

beforeAll(async () => {
  site = await Site.create();
  await site.start();
  fingerprint = (await site.manage(["fingerprint"])).stdout.trim();
});
afterAll(() => site[Symbol.asyncDispose]());

const server = () => `localhost:${site.port}`;
const knownFile = (certs: string) => join(certs, "known-servers.json");

/** What a client's known-servers.json says; undefined when there is none. */
async function known(certs: string): Promise<unknown> {
  return existsSync(knownFile(certs)) ? JSON.parse(await readFile(knownFile(certs), "utf8")) : undefined;
}

/** A client that the server trusts, and that knows the given keys of servers and no others. */
async function client(name: string, pins?: Record<string, string | string[]>): Promise<string> {
  const certs = join(site.path, name);
  await mkdir(certs);
  for (const file of ["client.key", "client.crt"]) await copyFile(join(site.certs, file), join(certs, file));
  if (pins !== undefined) await writeFile(knownFile(certs), JSON.stringify(pins));
  return certs;
}

describe("a server whose key is not the expected one", () => {
  test("is refused with the file, both keys and the command that makes it right", async () => {
    const certs = await client("changed", { [server()]: other });
    const { exitCode, stdout, stderr } = await site.call(["--certs", certs, "list"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: "" });
    expect(stderr).toContain(`Expected ${other} (from ${knownFile(certs)}).`);
    expect(stderr).toContain(`it has the key ${fingerprint}, which is not the expected one.`);
    expect(await known(certs)).toEqual({ [server()]: other });

    expect(stderr).toContain(`'veripy-client forget-server ${server()} --certs ${certs}'`);
    const [command = ""] = /veripy-client trust-server .*/.exec(stderr) ?? [];
    expect(command).toStartWith(`veripy-client trust-server ${server()} ${fingerprint}`);
    expect(await site.type(command)).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await site.call(["--certs", certs, "list"])).exitCode).toBe(0);
  });

  test("is refused with the name of server.crt, which the command puts aside", async () => {
    const certs = await client("certificate");
    await using elsewhere = await Site.create();
    const expected = (await elsewhere.manage(["fingerprint"])).stdout.trim();
    await copyFile(join(elsewhere.certs, "server.crt"), join(certs, "server.crt"));
    const { exitCode, stderr } = await site.call(["--certs", certs, "list"]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`Expected ${expected} (from ${join(certs, "server.crt")}).`);
    expect(stderr).not.toContain("forget-server");

    const [command = ""] = /veripy-client trust-server .*/.exec(stderr) ?? [];
    const trusted = await site.type(command);
    expect(trusted.exitCode).toBe(0);
    expect(trusted.stdout).toContain(expected);
    expect(trusted.stderr).toContain("server.crt.old");
    expect(existsSync(join(certs, "server.crt"))).toBe(false);
    expect((await site.call(["--certs", certs, "list"])).exitCode).toBe(0);
  });

  test("is refused with a word about the folder, where server.crt is the folder's own", async () => {
    await using elsewhere = await Site.create();
    const flags = ["--port", `${site.port}`, "--certs", "certs"];
    const refused = await elsewhere.call([...flags, "list"]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("Use another directory with --certs.");
    expect(refused.stderr).not.toContain("trust-server");

    const trusted = await elsewhere.call([...flags, "trust-server", "localhost", fingerprint]);
    expect({ exitCode: trusted.exitCode, stdout: trusted.stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(trusted.stderr).toContain("it contains server.key");
    expect(await known(elsewhere.certs)).toBeUndefined();
    expect(existsSync(join(elsewhere.certs, "server.crt"))).toBe(true);
  });

  test("is refused with the option's name, where only the option names a key", async () => {
    const certs = await client("option");
    const { exitCode, stderr } = await site.call(["--certs", certs, "list", "--server-fingerprint", other]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`Expected ${other} (from --server-fingerprint).`);
    expect(stderr).not.toContain("trust-server");
  });

  test("is refused in JSON too, in one object", async () => {
    const certs = await client("in-json", { [server()]: other });
    const { exitCode, stdout, stderr } = await site.call(["--certs", certs, "list", "--json"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 3, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({ code: "untrusted", error: expect.stringContaining(other) });
  });

  test("an option that contradicts the file is a usage error with the command", async () => {
    const certs = await client("contradicted", { [server()]: other });
    const flags = ["--certs", certs, "list", "--server-fingerprint", fingerprint];
    const { exitCode, stderr } = await site.call(flags);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(
      `${knownFile(certs)} says ${other}, but --server-fingerprint says ${fingerprint}.`,
    );
    const [command = ""] = /veripy-client trust-server .*/.exec(stderr) ?? [];
    expect((await site.type(command)).exitCode).toBe(0);
    expect((await site.call(flags)).exitCode).toBe(0);
  });
});

describe("trust-server", () => {
  test("expects exactly that key from that server, and leaves the others alone", async () => {
    const certs = await client("exact", { [server()]: [other, "cd".repeat(32)], "a.example:1": other });
    const args = ["trust-server", server(), fingerprint.toUpperCase(), "--certs", certs, "--json"];
    const first = await site.call(args);
    expect(JSON.parse(first.stdout)).toEqual({
      server: server(),
      fingerprint,
      changed: true,
      replaced: [other, "cd".repeat(32)],
    });
    expect(await known(certs)).toEqual({ [server()]: fingerprint, "a.example:1": other });
    expect(JSON.parse((await site.call(args)).stdout)).toMatchObject({ changed: false, replaced: [] });
    expect((await site.call(["--certs", certs, "list"])).exitCode).toBe(0);
  });

  test.each([
    [["server.example"], "server.example:8443"],
    [["server.example:9443"], "server.example:9443"],
    [["server.example", "-p", "9444"], "server.example:9444"],
    [["[::1]:9443"], "[::1]:9443"],
  ])("takes %p", async (where, name) => {
    const certs = await client(`named-${name}`);
    const args = ["trust-server", ...where, fingerprint, "--certs", certs];
    expect(await run([site.client, ...args])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await known(certs)).toEqual({ [name]: fingerprint });
  });

  test("a wrong key is kept as told, and the server is refused", async () => {
    const certs = await client("mistaken", { [server()]: fingerprint });
    expect((await site.call(["trust-server", server(), other, "--certs", certs])).exitCode).toBe(0);
    const { exitCode, stdout } = await site.call(["--certs", certs, "list"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: "" });
  });

  test.each([
    ["a fingerprint that is none", ["localhost", "abc"], "64 hexadecimal digits"],
    ["a server that is none", ["not a host", other], "HOST:PORT"],
    ["a port that is none", ["localhost:70000", other], "65535"],
    ["no fingerprint", ["localhost"], "fingerprint"],
    [
      "a port that contradicts -p",
      ["localhost:9443", other, "-p", "9444"],
      "port 9443, but --port says 9444",
    ],
    ["a folder that is not there", ["localhost", other, "--certs", "nowhere"], "veripy-client init"],
  ])("%s is a usage error, and nothing is written", async (what, args, message) => {
    const certs = await client(`wrong-${what}`);
    const { exitCode, stdout, stderr } = await site.call(["--certs", certs, "trust-server", ...args]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(await known(certs)).toBeUndefined();
    expect(existsSync(join(site.path, "nowhere"))).toBe(false);
  });
});

describe("forget-server", () => {
  test("removes the entry, and the server is unknown again", async () => {
    const certs = await client("forgetful", { [server()]: fingerprint, "a.example:1": other });
    const { exitCode, stdout } = await site.call(["forget-server", server(), "--certs", certs, "--json"]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ server: server(), fingerprints: [fingerprint] });
    expect(await known(certs)).toEqual({ "a.example:1": other });
    const refused = await site.call(["--certs", certs, "list"]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("Nothing says which key");
    const [command = ""] = /veripy-client trust-server .*/.exec(refused.stderr) ?? [];
    expect((await site.type(command)).exitCode).toBe(0);
    expect((await site.call(["--certs", certs, "list"])).exitCode).toBe(0);
  });

  test.each([
    ["server.exmaple", "Did you mean 'server.example:8443'?"],
    ["elsewhere.test:1", "It contains: server.example:8443, b.example:9443."],
  ])("fails for %s, which is not there, and names what is", async (where, hint) => {
    const pins = { "server.example:8443": other, "b.example:9443": other };
    const certs = await client(`missing-${where}`, pins);
    const args = ["forget-server", where, "--certs", certs];
    const { exitCode, stdout, stderr } = await run([site.client, ...args]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain(hint);
    expect(await known(certs)).toEqual(pins);
  });

  test("with two ports that contradict each other is a usage error, and removes nothing", async () => {
    const pins = { "a.example:1": other, "a.example:2": other };
    const certs = await client("contradictory", pins);
    const args = ["--certs", certs, "forget-server", "a.example:1", "-p"];
    const { exitCode, stdout, stderr } = await run([site.client, ...args, "2"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("The host says port 1, but --port says 2.");
    expect(await known(certs)).toEqual(pins);
    expect((await run([site.client, ...args, "1"])).exitCode).toBe(0);
    expect(await known(certs)).toEqual({ "a.example:2": other });
  });

  test("says that server.crt goes on to name a key", async () => {
    const certs = await client("both", { [server()]: fingerprint });
    await copyFile(join(site.certs, "server.crt"), join(certs, "server.crt"));
    const forgotten = await site.call(["forget-server", server(), "--certs", certs]);
    expect(forgotten.exitCode).toBe(0);
    expect(forgotten.stderr).toContain(`${join(certs, "server.crt")} still gives the key of every server`);
    const again = await site.call(["forget-server", server(), "--certs", certs]);
    expect(again.exitCode).toBe(2);
    expect(again.stderr).toContain(`${join(certs, "server.crt")} applies to every server`);
  });
});

describe("--server-fingerprint, in a pipe,", () => {
  test("is not remembered; with --remember it is, and the user is told", async () => {
    const certs = await client("piped");
    const flags = ["--certs", certs, "list", "--server-fingerprint", fingerprint];
    expect(await site.call(flags)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await known(certs)).toBeUndefined();

    const kept = await site.call([...flags, "--remember"]);
    expect(kept.exitCode).toBe(0);
    expect(kept.stderr).toContain(knownFile(certs));
    expect(await known(certs)).toEqual({ [server()]: fingerprint });
    // It is there already.
    expect(await site.call([...flags, "--remember"])).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await site.call(["--certs", certs, "list"])).exitCode).toBe(0);
  });

  test("of another server is not remembered", async () => {
    const certs = await client("deceived");
    const flags = ["--certs", certs, "list", "--server-fingerprint", other, "--remember"];
    expect((await site.call(flags)).exitCode).toBe(3);
    expect(await known(certs)).toBeUndefined();
  });

  test("of a server that does not let this client in is not remembered", async () => {
    const { certs } = await site.newClient("unwelcome");
    await rm(join(certs, "server.crt"));
    const flags = ["--certs", certs, "list", "--server-fingerprint", fingerprint, "--remember"];
    const { exitCode, stderr } = await site.call(flags);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("veripy-server trust");
    expect(await known(certs)).toBeUndefined();
  });

  test("--remember alone accepts no server", async () => {
    const certs = await client("naive");
    expect((await site.call(["--certs", certs, "list", "--remember"])).exitCode).toBe(3);
    expect(await known(certs)).toBeUndefined();
  });
});

describe.skipIf(process.platform === "win32")("--server-fingerprint, on a terminal,", () => {
  const question = /Save it, .*\(yes\/no\): /;
  const list = (certs: string, flags: string[], env?: Record<string, string>) =>
    new Terminal(
      [
        ...(env === undefined ? [] : ["env", ...Object.entries(env).map((pair) => pair.join("="))]),
        site.client,
        ...["--port", `${site.port}`, "--certs", certs, "list", ...flags],
      ],
      site.path,
    );

  test("is remembered when the answer is yes, and asked about once", async () => {
    const certs = await client("willing");
    await using first = list(certs, ["--server-fingerprint", fingerprint]);
    await first.shows(question);
    first.type("yes\r");
    expect(await first.ended()).toBe(0);
    expect(first.output).toContain("hello.ts");
    expect(await known(certs)).toEqual({ [server()]: fingerprint });

    await using second = list(certs, ["--server-fingerprint", fingerprint]);
    expect(await second.ended()).toBe(0);
    expect(second.output).not.toMatch(question);
  });

  test.each(["no", ""])("is not remembered when the answer is %p, and works all the same", async (answer) => {
    const certs = await client(`unwilling-${answer}`);
    await using asked = list(certs, ["--server-fingerprint", fingerprint]);
    await asked.shows(question);
    asked.type(`${answer}\r`);
    expect(await asked.ended()).toBe(0);
    expect(asked.output).toContain("hello.ts");
    expect(await known(certs)).toBeUndefined();
  });

  test.each([
    [3, () => ["--server-fingerprint", other], undefined],
    [0, () => ["--server-fingerprint", fingerprint, "--no-remember"], undefined],
    [0, () => ["--server-fingerprint", fingerprint, "--json"], undefined],
    [0, () => [], () => ({ VERIPY_SERVER_FINGERPRINT: fingerprint })],
  ])("ends with %i and without a question in case %#", async (exitCode, flags, env) => {
    const certs = await client(`unasked-${Math.random()}`);
    await using silent = list(certs, flags(), env?.());
    expect(await silent.ended()).toBe(exitCode);
    expect(silent.output).not.toMatch(question);
    expect(await known(certs)).toBeUndefined();
  });

  test("with --remember is remembered without a question", async () => {
    const certs = await client("decided");
    await using silent = list(certs, ["--server-fingerprint", fingerprint, "--remember"]);
    expect(await silent.ended()).toBe(0);
    expect(silent.output).not.toMatch(question);
    expect(await known(certs)).toEqual({ [server()]: fingerprint });
  });

  test("is not asked about when standard input was read to its end, as no answer could follow", async () => {
    const flags = ["--port", `${site.port}`, "--certs", await client("spent-input")];
    const named = [...flags, "--server-fingerprint", fingerprint];
    await using works = new Terminal([site.client, ...named, "exec", "--stdin", "hello"], site.path);
    works.type("Bob\r\u0004");
    expect(await works.ended()).toBe(0);
    expect(works.output).toContain("Hello, Bob");
    await using unknown = new Terminal([site.client, ...flags, "exec", "--stdin", "hello"], site.path);
    unknown.type("Bob\r\u0004");
    expect(await unknown.ended()).toBe(3);
    expect(unknown.output).toContain("trust-server");
  });

  test("`watch` goes on after the question", async () => {
    const certs = await client("watching");
    await using watching = new Terminal(
      [site.client, ...["--port", `${site.port}`, "--certs", certs, "--server-fingerprint", fingerprint]],
      site.path,
    );
    await watching.shows(question);
    watching.type("y\r");
    await watching.shows(/hello\.ts/);
    expect(await known(certs)).toEqual({ [server()]: fingerprint });
    watching.type("\u0003");
    await watching.ended();
  });
});
