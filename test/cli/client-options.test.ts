import { afterEach, describe, expect, test } from "bun:test";
import { Command } from "commander";
import { hostAndPort } from "../../src/cli/addresses.ts";
import { addConnectionFlags, type ClientOptions, isGiven, optionsOf } from "../../src/cli/client-options.ts";

const variables = ["VERIPY_HOST", "VERIPY_PORT", "VERIPY_SERVER_FINGERPRINT"];
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
  program.parse(words.split(" "), { from: "user" });
  const options = (): ClientOptions =>
    optionsOf(command, server === undefined ? undefined : hostAndPort.parse(server));
  return { command, options };
}

describe("a client's options", () => {
  test("have defaults", () => {
    expect(parse("list").options()).toMatchObject({
      host: "localhost",
      port: 8443,
      certs: "./certs",
      connectTimeout: 10_000,
      keepalive: 20_000,
    });
  });

  test("may stand before or after the command's name; what stands after it wins", () => {
    expect(parse("--certs a list").options().certs).toBe("a");
    expect(parse("list --certs b").options().certs).toBe("b");
    expect(parse("--certs a list --certs b").options().certs).toBe("b");
    expect(parse("--certs a -H x list --port 9").options()).toMatchObject({ certs: "a", host: "x", port: 9 });
  });

  test("take a flag over its variable, and a variable over the default", () => {
    expect(parse("list", { VERIPY_PORT: "7" }).options().port).toBe(7);
    expect(parse("list --port 8", { VERIPY_PORT: "7" }).options().port).toBe(8);
    expect(parse("--port 8 list", { VERIPY_PORT: "7" }).options().port).toBe(8);
  });

  test("ask whether to remember a key, unless told, and unless the key is in the environment", () => {
    expect(parse("list --server-fingerprint ab").options().remember).toBeUndefined();
    expect(parse("list --server-fingerprint ab --remember").options().remember).toBe(true);
    expect(parse("list --server-fingerprint ab --no-remember").options().remember).toBe(false);
    const env = { VERIPY_SERVER_FINGERPRINT: "ab" };
    expect(parse("list", env).options()).toMatchObject({ serverFingerprint: "ab", remember: false });
    expect(parse("list --remember", env).options().remember).toBe(true);
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
  ])("%p, with %j and the argument %j, is %p", (words, env, server, port) => {
    expect(parse(words, env, server).options().port).toBe(port);
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
  ])("%p, with %j and the argument %j, is contradicted", (words, env, server, problem) => {
    expect(parse(words, env, server).options).toThrow(problem);
  });
});

test("an option is given if it is in the command line or the environment, and not by its default", () => {
  expect(isGiven(parse("list").command, "host", "port")).toBe(false);
  expect(isGiven(parse("list -p 1").command, "host", "port")).toBe(true);
  expect(isGiven(parse("-p 1 list").command, "host", "port")).toBe(true);
  expect(isGiven(parse("-p 1 list").command, "host")).toBe(false);
  expect(isGiven(parse("list", { VERIPY_HOST: "a" }).command, "host")).toBe(true);
});
