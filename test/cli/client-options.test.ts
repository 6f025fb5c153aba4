import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Command } from "commander";
import { hostAndPort } from "../../src/cli/addresses.ts";
import { addConnectionFlags, type ClientOptions, isGiven, optionsOf } from "../../src/cli/client-options.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

const variables = ["VERIPY_HOST", "VERIPY_PORT", "VERIPY_SERVER_FINGERPRINT", "VERIPY_LOCK", "VERIPY_LOCKED"];
// Not the home of whoever runs the tests.
const home = await temporaryDirectory();
afterAll(() => home[Symbol.asyncDispose]());
afterEach(() => {
  for (const name of variables) delete process.env[name];
});

/** What the command `list` is given by these words and variables; `server` is an argument HOST[:PORT] of it. */
function parse(words: string, env: Record<string, string> = {}, server?: string) {
  Object.assign(process.env, env);
  let command = new Command();
  const program = addConnectionFlags(new Command()).enablePositionalOptions();
  addConnectionFlags(program.command("list")).action((_, self: Command) => {
    command = self;
  });
  program.parse(["--home", home.path, ...words.split(" ")], { from: "user" });
  const options = (): Promise<ClientOptions> =>
    optionsOf(command, server === undefined ? undefined : hostAndPort.parse(server));
  return { command, options };
}

describe("a client's options", () => {
  test("have defaults", async () => {
    expect(await parse("list").options()).toMatchObject({
      host: "localhost",
      port: 8443,
      home: home.path,
      certs: join(home.path, "certs"),
      locked: false,
      connectTimeout: 10_000,
      keepalive: 20_000,
    });
  });

  test("may stand before or after the command's name; what stands after it wins", async () => {
    expect((await parse("--certs a list").options()).certs).toBe("a");
    expect((await parse("list --certs b").options()).certs).toBe("b");
    expect((await parse("--certs a list --certs b").options()).certs).toBe("b");
    expect(await parse("--certs a -H x list --port 9").options()).toMatchObject({
      certs: "a",
      host: "x",
      port: 9,
    });
  });

  test("take a flag over its variable, and a variable over the default", async () => {
    expect((await parse("list", { VERIPY_PORT: "7" }).options()).port).toBe(7);
    expect((await parse("list --port 8", { VERIPY_PORT: "7" }).options()).port).toBe(8);
    expect((await parse("--port 8 list", { VERIPY_PORT: "7" }).options()).port).toBe(8);
  });

  test("ask whether to remember a key, unless told, and unless the key is in the environment", async () => {
    expect((await parse("list --server-fingerprint ab").options()).remember).toBeUndefined();
    expect((await parse("list --server-fingerprint ab --remember").options()).remember).toBe(true);
    expect((await parse("list --server-fingerprint ab --no-remember").options()).remember).toBe(false);
    const env = { VERIPY_SERVER_FINGERPRINT: "ab" };
    expect(await parse("list", env).options()).toMatchObject({ serverFingerprint: "ab", remember: false });
    expect((await parse("list --remember", env).options()).remember).toBe(true);
  });
});

describe("the lock", () => {
  test("is a flag over its variable, before or after the command's name, and --no-lock is a flag too", async () => {
    expect((await parse("list").options()).lock).toBeUndefined();
    expect((await parse("list", { VERIPY_LOCK: "a" }).options()).lock).toBe("a");
    expect((await parse("--lock b list", { VERIPY_LOCK: "a" }).options()).lock).toBe("b");
    expect((await parse("list --lock b", { VERIPY_LOCK: "a" }).options()).lock).toBe("b");
    expect((await parse("--no-lock list", { VERIPY_LOCK: "a" }).options()).lock).toBe(false);
    expect((await parse("list --no-lock", { VERIPY_LOCK: "a" }).options()).lock).toBe(false);
    expect((await parse("--lock b list --no-lock").options()).lock).toBe(false);
  });

  test("is required by --locked or VERIPY_LOCKED, which says yes or no", async () => {
    expect((await parse("--locked list").options()).locked).toBe(true);
    expect((await parse("list --locked", { VERIPY_LOCKED: "0" }).options()).locked).toBe(true);
    expect((await parse("list", { VERIPY_LOCKED: "yes" }).options()).locked).toBe(true);
    expect((await parse("list", { VERIPY_LOCKED: "no" }).options()).locked).toBe(false);
    await expect(parse("list", { VERIPY_LOCKED: "maybe" }).options()).rejects.toThrow(
      "VERIPY_LOCKED is 'maybe'.",
    );
  });

  test("is not required where --no-lock overrides the variable; both flags contradict each other", async () => {
    expect((await parse("list --no-lock", { VERIPY_LOCKED: "1" }).options()).locked).toBe(false);
    for (const words of ["list --locked --no-lock", "--locked list --no-lock", "--no-lock list --locked"])
      await expect(parse(words).options()).rejects.toThrow("--locked needs a lock");
  });
});

describe("the port of HOST:PORT", () => {
  test.each<[words: string, env: Record<string, string>, server: string | undefined, port: number]>([
    ["list -H a:1", {}, undefined, 1],
    ["-H a:1 list", {}, undefined, 1],
    ["list -H a:1 -p 1", {}, undefined, 1],
    ["list -H a:1", { VERIPY_PORT: "2" }, undefined, 1],
    ["list", { VERIPY_HOST: "a:1" }, undefined, 1],
    ["list -p 2", { VERIPY_HOST: "a:1" }, undefined, 2],
    ["list -H a", { VERIPY_PORT: "2" }, undefined, 2],
    ["list", { VERIPY_HOST: "a:1", VERIPY_PORT: "2" }, "b:3", 3],
    ["list", { VERIPY_PORT: "2" }, "b", 2],
  ])("%p, with %j and the argument %j, is %p", async (words, env, server, port) => {
    expect((await parse(words, env, server).options()).port).toBe(port);
  });

  test.each<[words: string, env: Record<string, string>, server: string | undefined, problem: string]>([
    ["list -H a:1 -p 2", {}, undefined, "The host says port 1, but --port says 2."],
    ["-p 2 list -H a:1", {}, undefined, "The host says port 1, but --port says 2."],
    ["list -p 2", {}, "a:1", "The host says port 1, but --port says 2."],
    [
      "list",
      { VERIPY_HOST: "a:1", VERIPY_PORT: "2" },
      undefined,
      "VERIPY_HOST says port 1, but VERIPY_PORT says 2.",
    ],
  ])("%p, with %j and the argument %j, is contradicted", async (words, env, server, problem) => {
    await expect(parse(words, env, server).options()).rejects.toThrow(problem);
  });
});

test("an option is given if it is in the command line or the environment, and not by its default", () => {
  expect(isGiven(parse("list").command, "host", "port")).toBe(false);
  expect(isGiven(parse("list -p 1").command, "host", "port")).toBe(true);
  expect(isGiven(parse("-p 1 list").command, "host", "port")).toBe(true);
  expect(isGiven(parse("-p 1 list").command, "host")).toBe(false);
  expect(isGiven(parse("list", { VERIPY_HOST: "a" }).command, "host")).toBe(true);
});
