import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Ended, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { openssl } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "deploy.ts": `export const execute = (args: string) => args;\n`,
    "slow.ts": `export const execute = () => "";\n`,
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

/** Runs the client with these arguments, and with only these variables in its environment. */
function client(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return run([site.client, ...args], { cwd: site.path, env });
}
/** Replaces `PORT` with the server's port. */
const withPort = (text: string) => text.replace("PORT", String(site.port));

describe("help and version", () => {
  const serverCommands =
    "start init trust untrust invite keys disconnect fingerprint renew rotate check policy unit types".split(
      " ",
    );
  const clientCommands =
    "watch list verify exec modules fingerprint init join renew rotate trust-server forget-server".split(" ");

  test.each(["", ...serverCommands, "policy test"])("'veripy-server %s' accepts -h and -V", (command) =>
    expectHelpAndVersion(site.server, "veripy-server", command),
  );

  test.each(["", ...clientCommands])("'veripy-client %s' accepts -h and -V", (command) =>
    expectHelpAndVersion(site.client, "veripy-client", command),
  );

  async function expectHelpAndVersion(executable: string, name: string, command: string): Promise<void> {
    const words = command.split(" ").filter((word) => word !== "");
    const help = await run([executable, ...words, "-h"]);
    expect(help).toMatchObject({ exitCode: 0, stderr: "" });
    expect(help.stdout).toStartWith(`Usage: ${[name, ...words].join(" ")} `);
    const version = await run([executable, ...words, "-V"]);
    expect(version).toEqual({ exitCode: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/), stderr: "" });
  }

  test("-h and -V after 'exec MOD' go to the module", async () => {
    const port = ["-p", String(site.port)];
    expect((await client([...port, "exec", "deploy", "-h", "-V"])).stdout).toBe("-h -V\n");
  });

  test("'check --help' lists only the limits for loading a module, and 'check' accepts the others too", async () => {
    const { stdout } = await site.manage(["check", "--help"]);
    for (const flag of ["--max-file", "--max-tree", "--max-tree-files", "--load-timeout", "--module-memory"])
      expect(stdout).toContain(`${flag} <`);
    for (const flag of ["--max-connections", "--handshake-rate", "--idle-timeout", "--exec-timeout"])
      expect(stdout).not.toContain(flag);
    expect((await site.manage(["check", "--exec-timeout", "5s", "--max-connections", "5"])).exitCode).toBe(0);
  });
});

describe("a typing error", () => {
  test.each([
    [["lits"], "Did you mean 'list'?"],
    [["verfy", "hello"], "Did you mean 'verify'?"],
    [["list", "--josn"], "Did you mean --json?"],
    [["exec", "depoly"], "Did you mean 'deploy.ts'?"],
    [["exec", "slow.js"], "Did you mean 'slow.ts'?"],
    [["verify", "hello", "helo.ts"], "Did you mean 'hello.ts'?"],
  ])("in the client's arguments %p gets a suggestion and exit code 2", async (args, suggestion) => {
    for (const flags of [[], ["--json"]]) {
      const { exitCode, stdout, stderr } = await client([...flags, "-p", String(site.port), ...args]);
      expect(exitCode).toBe(2);
      expect(flags.length > 0 ? stdout : stderr).toContain(suggestion);
    }
  });

  test.each([[["--log-level", "info", "fingerprint"]], [["start", "fingerprint"]]])(
    "is not assumed when a command is in the wrong place: %p",
    async (args) => {
      const { exitCode, stderr } = await site.manage(args);
      expect(exitCode).toBe(2);
      expect(stderr).toStartWith(
        "error: 'fingerprint' is a command and must come first: veripy-server fingerprint ...\n",
      );
      expect(stderr).not.toContain("Did you mean");
    },
  );

  test("in the server's arguments gets a suggestion too", async () => {
    expect((await site.manage(["tust", "ab"])).stderr).toContain("Did you mean 'trust'?");
    const checked = await site.manage(["check", "helo", "--json"]);
    expect(checked.exitCode).toBe(1);
    expect(JSON.parse(checked.stdout)).toMatchObject({
      mod: "helo.ts",
      ok: false,
      problem: expect.stringMatching(/there is no such file in .* Did you mean 'hello\.ts'\?$/),
    });
    expect((await site.manage(["policy", "tset"])).stderr).toContain("Did you mean test?");
  });

  test("that resembles no known name gets no suggestion", async () => {
    for (const args of [["frobnicate"], ["-p", String(site.port), "exec", "frobnicate"]])
      expect((await client(args)).stderr).not.toContain("Did you mean");
  });
});

describe("a host", () => {
  test.each<[string[], Record<string, string>]>([
    [["-H", "localhost:PORT"], {}],
    [["-H", "127.0.0.1:PORT", "-p", "PORT"], {}],
    [["--host", "localhost:PORT"], { VERIPY_PORT: "1" }],
    [["--host", "localhost:PORT"], { VERIPY_HOST: "nowhere.invalid:1" }],
    [[], { VERIPY_HOST: "localhost:PORT" }],
    [["-p", "PORT"], { VERIPY_HOST: "localhost:1" }],
    [["-p", "PORT"], { VERIPY_HOST: "localhost" }],
  ])("may have a port: %p, with the variables %j", async (flags, variables) => {
    const env = Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, withPort(value)]));
    for (const args of [
      [...flags, "list"],
      ["list", ...flags],
    ])
      expect(await client(args.map(withPort), env)).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("may be an IPv6 address in brackets", async () => {
    const { exitCode, stderr } = await client(["-H", "[::1]:1", "list"]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("[::1]:1");
  });

  test.each<[string[], Record<string, string>]>([
    [["-H", "localhost:PORT", "-p", "1", "list"], {}],
    [["-p", "1", "list", "-H", "localhost:PORT"], {}],
    [["list"], { VERIPY_HOST: "localhost:PORT", VERIPY_PORT: "1" }],
    [["join", "localhost:PORT", "K3F9-7QXM-2R8T-D5VA-0WJC", "--port", "1"], {}],
    [["rotate", "--host", "localhost:PORT", "--port", "1"], {}],
  ])("must not contradict the port: %p, with the variables %j", async (args, variables) => {
    const env = Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, withPort(value)]));
    const { exitCode, stderr } = await client(args.map(withPort), env);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`says port ${site.port}`);
    expect(stderr).toContain("says 1.");
  });

  test("with a port is accepted by join and rotate", async () => {
    const refused = await client(["join", withPort("localhost:PORT"), "K3F9-7QXM-2R8T-D5VA-0WJC"]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).not.toContain("nothing listens");
    const rotated = await client(["rotate", "--host", withPort("localhost:PORT"), "--json"]);
    expect(rotated).toMatchObject({ exitCode: 0, stderr: "" });
    expect(JSON.parse(rotated.stdout)).toMatchObject({ servers: [{ server: `localhost:${site.port}` }] });
  });

  test.each(["", "a b", "https://server", "localhost:0", "localhost:65536", "localhost:x", "[::1", "::1:x"])(
    "cannot be %p",
    async (host) => {
      const { exitCode, stderr } = await client(["--host", host, "list"]);
      expect(exitCode).toBe(2);
      expect(stderr).toMatch(/HOST:PORT|from 1 to 65535/);
    },
  );
});

describe("JSON", () => {
  const list = (value: string, ...flags: string[]) =>
    client(["-p", String(site.port), "list", ...flags], { VERIPY_JSON: value });

  test.each(["0", "false", "no", "", "FALSE"])("is not asked for by VERIPY_JSON=%p", async (value) => {
    expect((await list(value)).stdout).not.toContain("{");
    expect((await list(value, "--json")).stdout).toStartWith("{");
  });

  test.each(["1", "true", "yes"])("is asked for by VERIPY_JSON=%p", async (value) => {
    expect((await list(value)).stdout).toStartWith("{");
    const own = await site.manage(["fingerprint"], { env: { VERIPY_JSON: value } });
    expect(own.stdout).toStartWith("{");
  });

  test("cannot be asked for by any other value of VERIPY_JSON, in either program", async () => {
    const said = await list("maybe");
    expect(said).toMatchObject({ exitCode: 2, stdout: "" });
    expect(said.stderr).toContain("VERIPY_JSON is 'maybe'");
    expect((await site.manage(["fingerprint"], { env: { VERIPY_JSON: "2" } })).exitCode).toBe(2);
    expect((await list("maybe", "--json")).exitCode).toBe(0);
  });

  const mistakes: [args: string[], problem: string][] = [
    [["--json", "list", "--nonsense"], "--nonsense"],
    [["list", "--nonsense", "--json"], "--nonsense"],
    [["--port", "0", "list", "--json"], "1 to 65535"],
    [["list", "--port", "http", "--json"], "1 to 65535"],
    [["--json", "exec"], "mod"],
    [["exec", "--json", "--timeout", "0", "hello"], "1ms"],
    [["lits", "--json"], "'lits'"],
    [["list", "-H", "a:1", "-p", "2", "--json"], "port"],
    [["--json", "list", "--server-fingerprint", "abc"], "fingerprint"],
  ];
  test.each(mistakes)("is the only output of the client's error for %p", async (args, problem) => {
    expectError(await client(args), problem);
    const without = args.filter((word) => word !== "--json");
    expectError(await client(without, { VERIPY_JSON: "1" }), problem);
    const inWords = await client(without);
    expect(inWords).toMatchObject({ exitCode: 2, stdout: "" });
    expect(inWords.stderr).toContain(problem);
  });

  test.each([
    [["--nonsense", "--json"], "--nonsense"],
    [["trust", "--json"], "fingerprint"],
    [["start", "--max-file", "big", "--json"], "1MiB"],
    [["trust", "abc", "--json"], "64 hexadecimal digits"],
    [["tust", "--json"], "'trust'"],
    [["policy", "tset", "--json"], "tset"],
  ])("is the only output of the server's error for %p", async (args, problem) => {
    expectError(await site.manage(args), problem);
  });

  test("is not asked for by a --json after 'exec MOD', which goes to the module", async () => {
    const { exitCode, stdout } = await client(["exec", "--timeout", "soon", "hello", "--json"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  });

  test("is the output of renew with --json", async () => {
    for (const ended of [await client(["renew", "--json"]), await site.manage(["renew", "--json"])]) {
      expect(ended).toMatchObject({ exitCode: 0, stderr: "" });
      const { fingerprint, not_after: notAfter } = JSON.parse(ended.stdout) as Record<string, string>;
      expect(fingerprint).toMatch(/^[0-9a-f]{64}$/);
      expect(Date.parse(notAfter ?? "")).toBeGreaterThan(Date.now());
    }
  });

  function expectError({ exitCode, stdout, stderr }: Ended, problem: string): void {
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: "" });
    const { error, ...rest } = JSON.parse(stdout) as Record<string, string>;
    expect(rest).toEqual({ code: "bad_config" });
    expect(error).toContain(problem);
    expect(error).not.toContain("\n");
  }
});

/** Words of libraries and the system that a message must not contain. */
const internals =
  /routines|OPENSSL|Too (small|big)|Invalid input|Expected either|E[A-Z]{4,}:|SyntaxError|JSON Parse|Error:|\bat .*\.ts:/;

describe("a message contains no jargon", () => {
  test.each([
    [["exec", "--timeout", "0", "hello"], "1ms"],
    [["exec", "--timeout", "0s", "hello"], "1ms"],
    [["exec", "--timeout", "999999999d", "hello"], "24d"],
    [["--connect-timeout", "0", "list"], "1ms"],
    [["exec", ""], "must not be empty"],
    [["verify", "hello", ""], "must not be empty"],
    [["exec", "x".repeat(256)], "255"],
    [["--host", "", "list"], "HOST:PORT"],
  ])("when it is printed before a connection is made: %p", async (args, help) => {
    // Nothing listens on this port: connecting would give exit code 3.
    const { exitCode, stderr } = await client(["-p", "1", ...args]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(help);
    expect(stderr).not.toMatch(internals);
  });

  const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  test.each([
    ["client.key", "junk"],
    ["client.key", pem],
    ["client.crt", "junk"],
    ["client.crt", pem],
    ["server.crt", "junk"],
    ["server.crt", pem],
    ["server.crt", new Uint8Array([0xff])],
    ["known-servers.json", "{"],
    ["known-servers.json", new Uint8Array([0xff])],
  ])("when it is about a %s that contains %j", async (name, content) => {
    const { certs } = await site.newClient(`plain-${name}-${Bun.hash(content)}`);
    await writeFile(join(certs, name), content);
    if (name === "known-servers.json") await Bun.file(join(certs, "server.crt")).delete();
    const { exitCode, stderr } = await client(["--certs", certs, "list"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(name);
    expect(stderr).not.toMatch(internals);
  });

  test.each([
    [["check", "--mods", "nowhere"], "it does not exist"],
    [["policy", "test", "nowhere"], "it does not exist"],
    [["policy", "test", "mods"], "it is a directory"],
    [["-p", "0", "--audit", "nowhere/audit"], "it does not exist"],
    [["-p", "0", "--metrics", "no-such-host.invalid:1"], "no such address"],
    [["-p", "0", "--interface", "no-such-host.invalid"], "no such address"],
    [["-p", "0", "--interface", ""], "must be an address"],
    [["init", "--certs", "trusted-keys.json"], "not a directory"],
    [["-p", "0", "--trusted-keys", "trusted-keys.json/x"], "not a directory"],
  ])("when the server prints it: %p", async (args, help) => {
    const { exitCode, stderr } = await site.manage(args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(help);
    expect(stderr).not.toMatch(internals);
  });

  test("when it is about an entry of the trust file, and it names the entry", async () => {
    const file = join(site.path, "bad-trust.json");
    for (const entry of [{ fingerprint: 7 }, { fingerprint: "a".repeat(64), actions: ["dance"] }, 7]) {
      await writeFile(file, JSON.stringify({ trusted_fingerprints: [entry] }));
      const { exitCode, stderr } = await site.manage(["-p", "0", "--trusted-keys", file]);
      expect(exitCode).toBe(2);
      expect(stderr).toContain("trusted_fingerprints[0]");
      expect(stderr).not.toMatch(internals);
    }
  });

  test.skipIf(openssl === undefined)("when it is about a server that speaks an older TLS", async () => {
    const port = await freePort();
    const flags = ["-key", join(site.certs, "server.key"), "-cert", join(site.certs, "server.crt")];
    const old = Bun.spawn([openssl ?? "", "s_server", "-tls1_2", "-accept", String(port), ...flags], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    try {
      await old.stdout.getReader().read();
      const { exitCode, stderr } = await client(["-H", `127.0.0.1:${port}`, "list"]);
      expect(exitCode).toBe(3);
      expect(stderr).toContain("it does not speak TLS 1.3");
      expect(stderr).not.toMatch(internals);
    } finally {
      old.kill("SIGKILL");
      await old.exited;
    }
  });
});

async function freePort(): Promise<number> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
