import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { loadIdentity } from "../../src/identity/identity.ts";
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

/** A client that the server trusts, and that knows no server. */
async function client(name: string): Promise<{ certs: string; key: string }> {
  const { certs, fingerprint: key } = await site.newClient(name);
  await rm(join(certs, "server.crt"));
  expect((await site.manage(["trust", key, "--name", name])).exitCode).toBe(0);
  return { certs, key };
}

async function known(certs: string): Promise<unknown> {
  const file = join(certs, "known-servers.json");
  return existsSync(file) ? JSON.parse(await readFile(file, "utf8")) : undefined;
}

const keyOf = async (certs: string): Promise<string> => (await loadIdentity(certs, "client")).fingerprint;
const kept = () => ({ [`localhost:${site.port}`]: fingerprint });
const command = (certs: string, flags: string[]) => ["--certs", certs, "rotate", "-H", "localhost", ...flags];

describe("rotate --server-fingerprint, in a pipe,", () => {
  test.each([
    ["--remember keeps the server's key, and the user is told", ["--remember"], true],
    ["--no-remember does not", ["--no-remember"], false],
    ["neither does not", [], false],
  ])("with %s", async (name, flags, isKept) => {
    const { certs, key } = await client(`piped-${flags.join("")}`);
    const named = [...command(certs, ["--server-fingerprint", fingerprint]), ...flags];
    const { exitCode, stderr } = await site.call(named);
    expect({ name, exitCode }).toEqual({ name, exitCode: 0 });
    expect(stderr).toBe(isKept ? `Saved the server's key in ${join(certs, "known-servers.json")}.\n` : "");
    expect(await known(certs)).toEqual(isKept ? kept() : undefined);
    expect(await keyOf(certs)).not.toBe(key);
  });

  test("--remember keeps nothing of another server, and the client's key stays", async () => {
    const { certs, key } = await client("deceived");
    const flags = ["--server-fingerprint", other, "--remember"];
    expect((await site.call(command(certs, flags))).exitCode).toBe(3);
    expect(await known(certs)).toBeUndefined();
    expect(await keyOf(certs)).toBe(key);
  });
});

describe.skipIf(process.platform === "win32")("rotate, on a terminal,", () => {
  const rotate = (certs: string, flags: string[] = []) =>
    new Terminal([site.client, "--port", `${site.port}`, ...command(certs, flags)], site.path);
  const toRemember = /Save it, .*\(yes\/no\): /g;
  const toAccept = /Type yes to trust it: /g;

  test.each([
    ["yes", true],
    ["no", false],
  ])("asks once whether to remember what the option names; %s", async (answer, isKept) => {
    const { certs, key } = await client(`asked-${answer}`);
    await using asked = rotate(certs, ["--server-fingerprint", fingerprint]);
    await asked.shows(toRemember);
    // The client's key is still the one that is trusted.
    expect(await keyOf(certs)).toBe(key);
    asked.type(`${answer}\r`);
    expect(await asked.ended()).toBe(0);
    expect(asked.output.match(toRemember)).toHaveLength(1);
    expect(await known(certs)).toEqual(isKept ? kept() : undefined);
    expect(await keyOf(certs)).not.toBe(key);
  });

  test("asks nothing with --remember, --no-remember or --json", async () => {
    for (const flag of ["--remember", "--no-remember", "--json"]) {
      const { certs } = await client(`silent${flag}`);
      await using silent = rotate(certs, ["--server-fingerprint", fingerprint, flag]);
      expect(await silent.ended()).toBe(0);
      expect(silent.output).not.toMatch(toRemember);
    }
  });

  test.each([
    ["yes", 0],
    ["no", 3],
  ])("asks once about a server that nothing names; %s", async (answer, exitCode) => {
    const { certs, key } = await client(`unknown-${answer}`);
    await using asked = rotate(certs);
    await asked.shows(toAccept);
    asked.type(`${answer}\r`);
    expect(await asked.ended()).toBe(exitCode);
    expect(asked.output.match(toAccept)).toHaveLength(1);
    expect(await known(certs)).toEqual(exitCode === 0 ? kept() : undefined);
    expect((await keyOf(certs)) === key).toBe(exitCode !== 0);
  });

  test("is ended by Ctrl-C at the question with 130, and nothing has changed", async () => {
    const { certs, key } = await client("interrupted");
    await using asked = rotate(certs, ["--server-fingerprint", fingerprint]);
    await asked.shows(toRemember);
    const shown = asked.output;
    asked.type("\u0003");
    expect(await asked.ended()).toBe(130);
    expect(asked.output.slice(shown.length).replaceAll(/\^C|\s|\x1b\[[0-9;?]*[a-zA-Z]/g, "")).toBe("");
    expect(await known(certs)).toBeUndefined();
    expect(await keyOf(certs)).toBe(key);
  });
});
