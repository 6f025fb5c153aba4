import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { chmod, rm } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { hostAndPort } from "../../src/cli/addresses.ts";
import { addConnectionFlags, type ResolvedOptions, resolveOptions } from "../../src/cli/client-options.ts";
import { readClientSettings } from "../../src/cli/client-settings.ts";
import { options } from "../../src/cli/options.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const home = await temporaryDirectory();
const file = join(home.path, "veripy.toml");
afterAll(() => home[Symbol.asyncDispose]());
const variables = [
  "VERIPY_HOST",
  "VERIPY_PORT",
  "VERIPY_LOCKED",
  "VERIPY_KEEPALIVE",
  "VERIPY_SERVER_FINGERPRINT",
];
afterEach(async () => {
  for (const name of variables) delete process.env[name];
  await rm(file, { force: true });
});

const key = "3f0c4b29d6e1a7584c3b90d2f16e8a75b4c9d3e2f1a0b8c7d6e5f4a3b2c1d0e1";
const settings = `host = "prod"
keepalive = "5s"
timeout = 60

[hosts.prod]
address = "server.example:9443"
keepalive = "7s"
locked = true
fingerprint = "${key}"
signers = "allowed_signers"
signer = "ops@example"

[hosts.test]
address = "[::1]"
`;

/** What a command is given by these words and variables, and the settings file of the home. */
async function resolve(
  words: string,
  {
    env = {},
    text = settings,
    server,
  }: { env?: Record<string, string>; text?: string; server?: string } = {},
): Promise<ResolvedOptions> {
  Object.assign(process.env, env);
  await Bun.write(file, text);
  let command = new Command();
  const program = addConnectionFlags(new Command()).enablePositionalOptions();
  addConnectionFlags(program.command("exec"))
    .addOption(options.timeout)
    .action((_, self: Command) => {
      command = self;
    });
  program.parse(["--home", home.path, "exec", ...words.split(" ").filter(Boolean)], { from: "user" });
  return resolveOptions(command, server === undefined ? undefined : hostAndPort.parse(server));
}

describe("the server", () => {
  test.each<
    [words: string, env: Record<string, string>, server: string | undefined, host: string, port: number]
  >([
    ["", {}, undefined, "server.example", 9443],
    ["-H prod", {}, undefined, "server.example", 9443],
    ["-H test", {}, undefined, "[::1]", 8443],
    ["-H test -p 7", {}, undefined, "[::1]", 7],
    ["", { VERIPY_HOST: "test" }, undefined, "[::1]", 8443],
    ["-H prod", { VERIPY_HOST: "test" }, undefined, "server.example", 9443],
    ["-H prod", { VERIPY_PORT: "7" }, undefined, "server.example", 9443],
    ["", { VERIPY_PORT: "7" }, undefined, "server.example", 7],
    ["-p 7", {}, undefined, "server.example", 7],
    ["", {}, "test", "[::1]", 8443],
    // Not names of the file.
    ["-H other", {}, undefined, "other", 8443],
    ["-H prod:1", {}, undefined, "prod", 1],
    ["-H constructor", {}, undefined, "constructor", 8443],
  ])("of %j, with %j and the argument %p, is %p port %p", async (words, env, server, host, port) => {
    const resolved = await resolve(words, { env, ...(server === undefined ? {} : { server }) });
    expect(resolved.options).toMatchObject({ host, port });
  });

  test("is not what the file says where a flag contradicts it", async () => {
    await expect(resolve("-H prod -p 7")).rejects.toThrow("The host says port 9443, but --port says 7.");
  });

  test("is localhost without a file, and an address of the file needs no entry", async () => {
    expect((await resolve("", { text: "" })).options).toMatchObject({ host: "localhost", port: 8443 });
    const text = 'host = "a.example:1"';
    expect((await resolve("", { text })).options).toMatchObject({ host: "a.example", port: 1 });
  });

  test("that is no name is compared with the names, for an error", async () => {
    expect((await resolve("-H prdo")).options.hostHint).toBe("Did you mean 'prod'?");
    for (const words of ["", "-H prod", "-H prdo:1", "-H 10.0.0.1"])
      expect((await resolve(words)).options.hostHint).toBe("");
  });
});

describe("a setting", () => {
  test("of a server wins over one for all servers, and the default is last", async () => {
    expect((await resolve("")).options).toMatchObject({
      keepalive: 7_000,
      timeout: 60_000,
      connectTimeout: 10_000,
    });
    expect((await resolve("-H test")).options).toMatchObject({ keepalive: 5_000, timeout: 60_000 });
    expect((await resolve("-H test", { text: "" })).options).toMatchObject({
      keepalive: 20_000,
      timeout: 30_000,
    });
  });

  test("gives way to a variable, and that to a flag", async () => {
    const env = { VERIPY_KEEPALIVE: "9s" };
    expect((await resolve("", { env })).options.keepalive).toBe(9_000);
    expect((await resolve("--keepalive 11s", { env })).options.keepalive).toBe(11_000);
  });

  test("locks, unless a variable or --no-lock says otherwise", async () => {
    expect((await resolve("")).options.locked).toBe(true);
    expect((await resolve("-H test")).options.locked).toBe(false);
    expect((await resolve("--no-lock")).options.locked).toBe(false);
    expect((await resolve("", { env: { VERIPY_LOCKED: "0" } })).options.locked).toBe(false);
    expect((await resolve("-H test", { env: { VERIPY_LOCKED: "1" } })).options.locked).toBe(true);
  });

  test("names the server's key, which is then not saved elsewhere too", async () => {
    expect((await resolve("")).options).toMatchObject({ serverFingerprint: key, remember: false });
    expect((await resolve("-H test")).options.serverFingerprint).toBeUndefined();
  });

  test("that is a path starts at the home", async () => {
    expect((await resolve("")).options).toMatchObject({
      signers: join(home.path, "allowed_signers"),
      signer: "ops@example",
    });
  });

  test("says where it comes from", async () => {
    const { originOf, addressOrigin } = await resolve("-H prod --timeout 1s", {
      env: { VERIPY_LOCKED: "1" },
    });
    expect(["host", "timeout", "locked", "keepalive", "connectTimeout"].map(originOf)).toEqual([
      "--host",
      "--timeout",
      "VERIPY_LOCKED",
      `${file}:7`,
      "default",
    ]);
    expect(addressOrigin).toBe(`${file}:6`);
    expect((await resolve("")).originOf("host")).toBe(`${file}:1`);
    expect((await resolve("-H test -p 7")).addressOrigin).toBe("--port");
    expect((await resolve("--no-lock")).originOf("lock")).toBe("--no-lock");
  });
});

describe("a settings file is refused with its line:", () => {
  test.each<[text: string, problem: string]>([
    ["\nhots = 'x'", "line 2: unknown key 'hots'. Did you mean 'host' or 'hosts'?"],
    [
      "port = 1",
      "line 1: unknown key 'port'. The keys are connect_timeout, timeout, keepalive, locked, signers",
    ],
    ["fingerprint = 'x'", "line 1: unknown key 'fingerprint'."],
    ["\n[hosts.prod]\nport = 1\naddress = 'x'", "line 3: hosts.prod: unknown key 'port'."],
    ["\n[hosts.prod]\n", "line 2: hosts.prod.address: is missing."],
    ["[hosts.prod]\naddress = 5", "line 2: hosts.prod.address: must be a string, not a number."],
    ["[hosts.prod]\naddress = 'a b'", "line 2: hosts.prod.address: must be HOST or HOST:PORT"],
    ["[hosts.'a b']\naddress = 'x'", "line 1: hosts.a b: a name must have no spaces and none of : / @ [ ]."],
    [
      "[hosts.p]\naddress = 'x'\nfingerprint = 'ab'",
      "line 3: hosts.p.fingerprint: must be 64 hexadecimal digits.",
    ],
    ["timeout = 'soon'", "line 1: timeout: must be a duration like 500ms, 30s, 10m or 2h."],
    ["timeout = true", "line 1: timeout: must be a string or a number."],
    ["timeout = 0", "line 1: timeout: must be from 1ms to 24d."],
    ["locked = 'yes'", "line 1: locked: must be a boolean, not a string."],
    ["signers = 5", "line 1: signers: must be a string, not a number."],
    ["hosts = 3", "line 1: hosts: must be an object, not a number."],
    ["[[hosts]]\naddress = 'x'", "line 1: hosts: must be an object, not a list."],
    ["host =", "line 1: missing value"],
  ])("%j", async (text, problem) => {
    await Bun.write(file, text);
    const error = await readClientSettings(home.path).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "bad_config" });
    expect(error.message).toStartWith(`${file}: ${problem}`);
  });

  test.skipIf(process.platform === "win32")("also one that every user may write to", async () => {
    await Bun.write(file, settings);
    await chmod(file, 0o666);
    await expect(readClientSettings(home.path)).rejects.toMatchObject({ code: "bad_identity" });
  });
});
