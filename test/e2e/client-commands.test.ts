import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ScriptedServer } from "../helpers/scripted-server.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines, sha256 } from "../helpers/tools.ts";

setDefaultTimeout(20_000);

const modules = {
  "echo.ts": `export const description = "Gives its arguments back";
export const execute = async (args: string) => args;
`,
  "fails.ts": `export async function execute() { throw new Error("no luck today"); }\n`,
  "slow.ts": `export async function execute() { await Bun.sleep(20_000); return "late"; }\n`,
  "parts.ts": `export async function* execute() { yield "one"; yield "two"; }\n`,
  "plain.js": `export const execute = async () => "from JavaScript";\n`,
  "escape.ts": `export const description = "\\u001b[2Jwiped\\nverified  forged.ts";
export const execute = async () => "";
`,
};

let site: Site;

beforeAll(async () => {
  site = await Site.create(modules);
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

describe("exec", () => {
  test("prints only the result, and exits with 0", async () => {
    expect(await site.call(["exec", "hello.ts", "Ann"])).toEqual({
      exitCode: 0,
      stdout: "Hello, Ann!\n",
      stderr: "",
    });
  });

  test("accepts 'hello' for 'hello.ts', and 'plain' for 'plain.js'", async () => {
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    expect((await site.call(["exec", "plain"])).stdout).toBe("from JavaScript\n");
  });

  test("passes everything after the module's name to the module, flags too", async () => {
    const given = ["-a", "--json", "--port", "1", "--", "--help", "x y"];
    const { exitCode, stdout } = await site.call(["exec", "echo", ...given]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: `${given.join(" ")}\n` });
  });

  test("passes flags to uname.ts, which refuses other words", async () => {
    await Bun.write(`${site.path}/mods/uname.ts`, Bun.file(`${import.meta.dir}/../../mods/uname.ts`));
    const { stdout } = Bun.spawnSync(["uname", "-a"]);
    const local = site.watch([]);
    await local.line(/^verified {2}uname\.ts/);
    await local[Symbol.asyncDispose]();
    expect((await site.call(["exec", "uname", "-a"])).stdout).toBe(stdout.toString());
    const refused = await site.call(["exec", "uname", "; id"]);
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toContain("uname does not know ';'");
  });

  test("reads the arguments from standard input with --stdin", async () => {
    const text = 'several\nlines, "quotes" and \u{1f40d}';
    expect((await site.call(["exec", "--stdin", "echo"], { stdin: text })).stdout).toBe(`${text}\n`);
  });

  test("accepts flags before and after its name", async () => {
    for (const args of [
      ["--json", "exec", "hello"],
      ["exec", "--json", "hello"],
    ]) {
      const { exitCode, stdout } = await site.call(args);
      expect(exitCode).toBe(0);
      expect(jsonLines(stdout)).toMatchObject([{ mod: "hello.ts", result: "Hello, World!" }]);
    }
  });

  test("prints the parts of a stream unchanged", async () => {
    expect((await site.call(["exec", "parts"])).stdout).toBe("onetwo");
    expect(jsonLines((await site.call(["--json", "exec", "parts"])).stdout)).toMatchObject([
      { part: "one" },
      { part: "two" },
      { mod: "parts.ts", result: "" },
    ]);
  });
});

describe("the exit code", () => {
  test("is 1 when the module fails, with its error on standard error", async () => {
    const failed = await site.call(["exec", "fails"]);
    expect(failed).toMatchObject({ exitCode: 1, stdout: "" });
    expect(failed.stderr).toContain("no luck today");
    expect(jsonLines((await site.call(["--json", "exec", "fails"])).stdout)).toEqual([
      { code: "exec_failed", error: expect.stringContaining("no luck today") },
    ]);
  });

  test("is 2 when there is no such module", async () => {
    const missing = await site.call(["exec", "nothing"]);
    expect(missing).toMatchObject({ exitCode: 2, stdout: "" });
    expect(missing.stderr).toContain("'nothing'");
    expect((await site.call(["verify", "nothing"])).exitCode).toBe(2);
    expect(jsonLines((await site.call(["--json", "exec", "nothing"])).stdout)).toMatchObject([
      { code: "not_found" },
    ]);
  });

  test.each([
    [["--nonsense"], "--nonsense"],
    [["list", "--nonsense"], "--nonsense"],
    [["dance"], "dance"],
    [["exec"], "missing required argument 'mod'"],
    [["--port", "0", "list"], "1 to 65535"],
    [["--port", "65536", "list"], "1 to 65535"],
    [["--port", "http", "list"], "1 to 65535"],
    [["exec", "--timeout", "soon", "hello"], "30s"],
    [["--server-fingerprint", "abc", "list"], "64 hexadecimal digits"],
    [["--certs", "nowhere", "list"], "veripy-client init"],
  ])("is 2 for %p, and the message says what is wrong", async (args, help) => {
    const refused = await site.call(args);
    expect(refused).toMatchObject({ exitCode: 2, stdout: "" });
    expect(refused.stderr).toContain(help);
  });

  test("is 3 when nothing listens, or the host does not exist", async () => {
    const { exitCode, stderr } = await site.call(["--port", "1", "list"]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("nothing is listening there");
    const nobody = await site.call(["--host", "no-such-host.invalid", "list"]);
    expect(nobody.exitCode).toBe(3);
    expect(nobody.stderr).toContain("no-such-host.invalid");
    expect((await site.call(["--port", "1"])).exitCode).toBe(3);
  });

  test("is 4 when the verification fails", async () => {
    using liar = await ScriptedServer.start(site.certs, { "hello.ts": { content: "// nothing\n" } });
    liar.lies = { sync: ([report]) => Object.assign(report ?? {}, { sum: "0".repeat(64) }) };
    for (const command of [["verify"], ["verify", "hello"], ["exec", "hello"]])
      expect((await site.call(["--port", String(liar.port), ...command])).exitCode).toBe(4);
    // 'list' does not verify.
    expect((await site.call(["--port", String(liar.port), "list"])).exitCode).toBe(0);
  });

  test("is 5 when the call takes too long", async () => {
    const late = await site.call(["exec", "--timeout", "200ms", "slow"]);
    expect(late).toMatchObject({ exitCode: 5, stdout: "" });
    expect(late.stderr).toContain("200 ms");
  });

  test("is 2 for a command that does not exist, and the error names it", async () => {
    for (const ended of [await site.call(["lits"]), await site.manage(["tust", "ab"])]) {
      expect(ended).toMatchObject({ exitCode: 2, stdout: "" });
      expect(ended.stderr).toMatch(/^error: there is no command '(lits|tust)'\.\n.* --help/);
    }
  });

  test("is 0 for --help and --version, which print to standard output", async () => {
    const help = await site.call(["--help"]);
    expect(help).toMatchObject({ exitCode: 0, stderr: "" });
    for (const code of [
      "0 success",
      "1 the module failed",
      "2 wrong usage",
      "3 cannot connect",
      "4 ",
      "5 timed out",
      "130",
      "143",
    ])
      expect(help.stdout).toContain(code);
    expect((await site.call(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+/);
    expect((await site.manage(["--help"])).stdout).toContain("Exit codes:");
  });
});

describe("with --json, every line is an object in the output", () => {
  test("of list", async () => {
    const { stdout, stderr } = await site.call(["list", "--json"]);
    const echo = modules["echo.ts"];
    expect(jsonLines(stdout)).toContainEqual(
      expect.objectContaining({ mod: "echo.ts", desc: "Gives its arguments back", sum: sha256(echo) }),
    );
    expect(stderr).toBe("");
  });

  test("of verify, for one module and for all", async () => {
    const [one, ...more] = jsonLines((await site.call(["--json", "verify", "echo"])).stdout);
    expect(more).toEqual([]);
    expect(one).toMatchObject({ mod: "echo.ts", verified: true, sum: sha256(modules["echo.ts"]) });
    const all = jsonLines((await site.call(["--json", "verify"])).stdout);
    expect(all.map(({ mod }) => mod)).toEqual(expect.arrayContaining(Object.keys(modules)));
  });

  test("of modules, fingerprint and init", async () => {
    const stats = jsonLines((await site.call(["modules", "--json"])).stdout);
    expect(stats).toContainEqual(expect.objectContaining({ mod: "echo.ts", current: true }));
    const [own] = jsonLines((await site.call(["fingerprint", "--json"])).stdout);
    const [again] = jsonLines((await site.call(["init", "--json"])).stdout);
    expect(again).toEqual({ ...own, created: false });
  });

  test("of a command that fails", async () => {
    const { exitCode, stdout } = await site.call(["--json", "--port", "1", "list"]);
    expect(exitCode).toBe(3);
    expect(jsonLines(stdout)).toMatchObject([{ code: "unreachable" }]);
  });
});

test("a module's description cannot move the cursor or forge a line", async () => {
  for (const command of [["list"], ["verify", "escape"]]) {
    const { stdout } = await site.call(command);
    expect(stdout).toContain("\\u001b[2Jwiped\\u000averified  forged.ts");
    expect(stdout).not.toContain("\u001b[2J");
    expect(stdout.split("\n").filter((line) => line.startsWith("verified  forged.ts"))).toEqual([]);
  }
});

test("localhost is served on IPv4 and IPv6", async () => {
  for (const host of ["127.0.0.1", "localhost", ...((await hasIpv6()) ? ["::1", "[::1]"] : [])])
    expect([host, (await site.call(["--host", host, "exec", "hello"])).stdout]).toEqual([
      host,
      "Hello, World!\n",
    ]);
});

async function hasIpv6(): Promise<boolean> {
  try {
    Bun.listen({ hostname: "::1", port: 0, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}
