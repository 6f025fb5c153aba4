import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../helpers/processes.ts";
import { blocksOf } from "../helpers/readme.ts";
import { Site } from "../helpers/site.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

let site: Site;
beforeAll(async () => {
  site = await Site.create();
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

/** A folder without keys, in which `veripy-client` finds its home in `.config`. */
async function elsewhere() {
  const folder = await temporaryDirectory();
  return {
    path: folder.path,
    home: join(folder.path, ".config/veripy"),
    client: (args: string[], env: Record<string, string> = {}) =>
      run([site.client, ...args], {
        cwd: folder.path,
        env: { PATH: process.env.PATH ?? "", HOME: folder.path, ...env },
      }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function row(output: string, setting: string) {
  return jsonLines(output).find((one) => one.setting === setting);
}

describe("a client's home", () => {
  test("is made by join in ~/.config, for its owner alone, and serves from any folder", async () => {
    await using there = await elsewhere();
    const { stdout: code } = await site.manage(["invite", "--json"]);
    const joined = await there.client(["join", `localhost:${site.port}`, JSON.parse(code).code]);
    expect({ exitCode: joined.exitCode, stderr: joined.stderr }).toEqual({ exitCode: 0, stderr: "" });
    if (process.platform !== "win32") expect((await stat(there.home)).mode & 0o777).toBe(0o700);
    const sub = join(there.path, "sub");
    await mkdir(sub);
    const env = { HOME: there.path, XDG_CONFIG_HOME: join(there.path, ".config") };
    const called = await run([site.client, "-p", `${site.port}`, "exec", "hello"], { cwd: sub, env });
    expect(called).toEqual({ exitCode: 0, stdout: "Hello, World!\n", stderr: "" });
    // The source that was verified is kept.
    expect([...new Bun.Glob("store/*").scanSync(there.home)]).toHaveLength(2);
  });

  test("is the working directory if that has certs/client.key, and --home or VERIPY_HOME whatever it has", async () => {
    const home = async (args: string[], env: Record<string, string> = {}) =>
      row(
        (await site.call(["config", "--json", ...args], { env: { PATH: "", HOME: "/", ...env } })).stdout,
        "home",
      );
    expect(await home([])).toMatchObject({ value: ".", from: "this folder" });
    expect(await home(["--home", "a"])).toMatchObject({ value: "a", from: "--home", exists: false });
    expect(await home([], { VERIPY_HOME: "b" })).toMatchObject({ value: "b", from: "VERIPY_HOME" });
    expect(await home(["--home", "a"], { VERIPY_HOME: "b" })).toMatchObject({ value: "a", from: "--home" });
    const before = await run([site.client, "--home", "a", "config", "--json"], { cwd: site.path });
    expect(await row(before.stdout, "home")).toMatchObject({ value: "a" });
  });

  test("gets a key by init, which says nothing was changed the second time", async () => {
    await using there = await elsewhere();
    expect((await there.client(["init"])).stdout).toContain(join(there.home, "certs"));
    expect((await there.client(["init"])).stdout).toContain("nothing was changed");
    expect((await there.client(["init", "--home", "."])).stdout).toContain("Created a key in ./certs.");
    expect((await there.client(["config", "--json"])).stdout).toContain('"setting":"home","value":"."');
  });
});

describe("a client's lock", () => {
  test("that was named and does not exist is exit code 2, and nothing runs", async () => {
    for (const args of [
      ["--lock", "none.lock", "exec", "hello"],
      ["exec", "--lock", "none.lock", "hello"],
      ["list", "--lock", "none.lock"],
    ]) {
      const { exitCode, stdout, stderr } = await site.call(args);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
      expect(stderr).toContain("Cannot use the lock none.lock: it does not exist.");
    }
  });

  test("must have an entry with --locked, and --no-lock contradicts it", async () => {
    for (const args of [
      ["--locked", "exec", "hello"],
      ["exec", "--locked", "hello"],
      ["list", "--locked"],
    ])
      expect((await site.call(args)).exitCode).toBe(4);
    const env = { PATH: process.env.PATH ?? "", VERIPY_LOCKED: "1" };
    expect((await site.call(["exec", "hello"], { env })).exitCode).toBe(4);
    expect((await site.call(["exec", "--no-lock", "hello"], { env })).exitCode).toBe(0);
    expect((await site.call(["exec", "hello"])).exitCode).toBe(0);
    const both = await site.call(["--locked", "exec", "--no-lock", "hello"]);
    expect({ exitCode: both.exitCode, stderr: both.stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining("--locked needs a lock"),
    });
  });
});

describe("veripy.toml", () => {
  test("gives a server a name, and everything that is set for it", async () => {
    await using there = await elsewhere();
    await Bun.write(join(there.home, "veripy.toml"), `[hosts.prod]\naddress = "localhost:${site.port}"\n`);
    const certs = ["--certs", site.certs];
    expect((await there.client(["exec", "-H", "prod", ...certs, "hello"])).stdout).toBe("Hello, World!\n");
    const typo = await there.client(["exec", "-H", "prdo", ...certs, "hello"]);
    expect({ exitCode: typo.exitCode, stderr: typo.stderr }).toEqual({
      exitCode: 3,
      stderr: expect.stringContaining("Did you mean 'prod'?"),
    });
    await Bun.write(
      join(there.home, "veripy.toml"),
      `host = "prod"\n[hosts.prod]\naddress = "localhost:${site.port}"\nlocked = true\n`,
    );
    expect((await there.client(["exec", ...certs, "hello"])).exitCode).toBe(4);
    expect((await there.client(["exec", "--no-lock", ...certs, "hello"])).stdout).toBe("Hello, World!\n");
  });

  test("is read in the home only: a folder that was cloned does not redirect a name", async () => {
    await using there = await elsewhere();
    await Bun.write(join(there.path, "veripy.toml"), `host = "evil.example:1"\n`);
    await Bun.write(join(there.path, ".config/veripy/veripy.toml"), `host = "good.example:1"\n`);
    const { stdout } = await there.client(["config", "--json"]);
    expect(await row(stdout, "address")).toMatchObject({ value: "good.example:1" });
  });

  test("that is wrong is exit code 2 with its line, escaped", async () => {
    await using there = await elsewhere();
    await Bun.write(join(there.home, "veripy.toml"), '\n"\\u001b[31mhost" = "x"\n');
    const { exitCode, stderr } = await there.client(["fingerprint"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("veripy.toml: line 2: unknown key '\\u001b[31mhost'.");
  });

  test("and everything else that is set is printed by config, with a header on a terminal only", async () => {
    await using there = await elsewhere();
    await Bun.write(join(there.home, "veripy.toml"), 'host = "a.example:7"\n');
    const { stdout } = await there.client(["config", "--timeout", "2s"], { VERIPY_KEEPALIVE: "5s" });
    const rows = stdout
      .trim()
      .split("\n")
      .map((line) => line.split(/\s{2,}/));
    expect(rows).toContainEqual(["home", there.home, "default"]);
    expect(rows).toContainEqual(["lock", `${join(there.home, "veripy.lock")} (does not exist)`, "home"]);
    expect(rows).toContainEqual(["address", "a.example:7", `${join(there.home, "veripy.toml")}:1`]);
    expect(rows).toContainEqual(["timeout", "2s", "--timeout"]);
    expect(rows).toContainEqual(["keepalive", "5s", "VERIPY_KEEPALIVE"]);
    expect(rows).toContainEqual(["connect_timeout", "10s", "default"]);
    expect(stdout).toStartWith("home ");
    await using terminal = new Terminal([site.client, "config"], there.path);
    await terminal.shows(/^setting +value +from\r?\n/);
    await terminal.ended();
  });
});

test("the examples in the manual are accepted", async () => {
  await using there = await elsewhere();
  const [client = "", server = ""] = await blocksOf("docs/operating.md", "toml");
  await Bun.write(join(there.home, "veripy.toml"), client);
  expect(await row((await there.client(["config", "--json"])).stdout, "address")).toMatchObject({
    value: "server.example:8443",
  });
  await Bun.write(join(there.path, "veripy-server.toml"), server);
  const { stdout } = await run([site.server, "config", "--json"], { cwd: there.path });
  expect(await row(stdout, "exec_timeout")).toMatchObject({ value: "2m", from: "veripy-server.toml:6" });
});

describe("veripy-server.toml", () => {
  test("sets what flags set, for start and for the commands beside it", async () => {
    await using other = await Site.create();
    await rm(join(other.path, "certs"), { recursive: true });
    await other.manage(["init", "--certs", "keys"]);
    const settings = join(other.path, "veripy-server.toml");
    await Bun.write(
      settings,
      'certs = "keys"\ninterface = "127.0.0.1"\nmax_result = "1KiB"\nlog_calls = true\n',
    );
    await other.write("big.ts", 'export const execute = () => "x".repeat(2000);\n');
    const server = await other.start();
    const big = await other.call(["exec", "--certs", "keys", "big"]);
    expect({ exitCode: big.exitCode, stderr: big.stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringContaining("1024"),
    });
    await server.line("called big.ts");
    // By the control socket, which is in that folder.
    expect((await other.manage(["keys", "--json"])).stdout).toContain('"running":true');
    server.process.kill("SIGTERM");
    await server.ended();
    await other.start(["--max-result", "1MiB"]);
    expect((await other.call(["exec", "--certs", "keys", "big"])).stdout).toBe(`${"x".repeat(2000)}\n`);
  });

  test("is another file with --config, whose paths start at its folder, and which must exist", async () => {
    await using folder = await temporaryDirectory();
    const etc = join(folder.path, "etc");
    await Bun.write(join(etc, "s.toml"), 'mods = "modules"\nport = 7\nmax_connections = 9\n');
    const config = async (...args: string[]) =>
      jsonLines((await run([site.server, "config", "--json", ...args], { cwd: folder.path })).stdout);
    const rows = await config("--config", "etc/s.toml", "--port", "8");
    expect(rows).toContainEqual({ setting: "mods", value: join("etc", "modules"), from: "etc/s.toml:1" });
    expect(rows).toContainEqual({ setting: "port", value: "8", from: "--port" });
    expect(rows).toContainEqual({ setting: "max_connections", value: "9", from: "etc/s.toml:3" });
    expect(rows).toContainEqual({ setting: "exec_timeout", value: "30s", from: "default" });
    expect(await config()).toContainEqual({ setting: "port", value: "8443", from: "default" });
    const missing = await run([site.server, "--config", "none.toml"], { cwd: folder.path });
    expect(missing).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: "error: Cannot read none.toml: it does not exist.\n",
    });
    const unit = await run([site.server, "unit", "--config", "etc/s.toml", "-i", "10.0.0.1"], {
      cwd: folder.path,
    });
    expect(unit.stdout).toContain(` start --config ${join(etc, "s.toml")} --interface 10.0.0.1\n`);
  });

  test("does not set flags of the same name that mean something else", async () => {
    await using other = await Site.create();
    await Bun.write(join(other.path, "veripy-server.toml"), "max_connections = 1\n");
    const { fingerprint } = await other.newClient("c");
    await other.manage(["trust", fingerprint]);
    expect(await Bun.file(join(other.path, "trusted-keys.json")).text()).not.toContain("max_connections");
  });

  test.each([
    ["\nprot = 1", "line 2: unknown key 'prot'. Did you mean 'port'?"],
    ["nothing = 1", "line 1: unknown key 'nothing'. 'config' prints all keys."],
    ["config = 'x'", "line 1: unknown key 'config'."],
    ["port = 70000", "line 1: port: must be a whole number from 0 to 65535."],
    ["sandbox = 'on'", "line 1: sandbox: allowed choices are best-effort, enforce, off."],
    ["module_env = 'A'", "line 1: module_env: must be a list, not a string."],
    ["eager = 'yes'", "line 1: eager: must be a boolean, not a string."],
    ["max_line = 'x'", "line 1: max_line: must be a size like 65536, 64KiB, 1MiB or 2GiB."],
  ])("is refused when it says %j", async (text, problem) => {
    await using folder = await temporaryDirectory();
    await Bun.write(join(folder.path, "veripy-server.toml"), text);
    for (const command of [[], ["config"], ["init"]]) {
      const { exitCode, stderr } = await run([site.server, ...command], { cwd: folder.path });
      expect({ exitCode, stderr }).toEqual({
        exitCode: 2,
        stderr: expect.stringContaining(`error: veripy-server.toml: ${problem}`),
      });
    }
  });

  test.skipIf(process.platform === "win32")("that every user may write to is refused", async () => {
    await using folder = await temporaryDirectory();
    await Bun.write(join(folder.path, "veripy-server.toml"), "");
    await chmod(join(folder.path, "veripy-server.toml"), 0o666);
    const { exitCode, stderr } = await run([site.server, "config"], { cwd: folder.path });
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining("chmod o-w") });
  });
});
