import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { strayEscapes } from "../helpers/escapes.ts";
import { type RunOptions, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

const modules = {
  "same.ts": `export const execute = (args: string) => "got " + args + "\\nsecond line\\n";\n`,
  "stream.ts": `export async function* execute() { yield "on"; yield "e\\ntw"; return "o"; }\n`,
  "differs.ts": "export const execute = () => 'first';\n",
  "fails.ts": "export const execute = () => { throw new Error('no more'); };\n",
  "escape.ts": `export const execute = () => "\\u001b[2J\\rb| forged";\n`,
  "schema.ts": `export const input = { type: "object", properties: { env: { type: "string" } }, required: ["env"] };
export const execute = (args: string) => args;\n`,
};

let site: Site;
let a: string;
let b: string;
/** Nothing listens there. */
const gone = "localhost:1";

beforeAll(async () => {
  site = await Site.create(modules);
  await mkdir(join(site.path, "others"));
  for (const mod of Object.keys(modules)) {
    await copyFile(join(site.path, "mods", mod), join(site.path, "others", mod));
  }
  await Bun.write(join(site.path, "others", "differs.ts"), "export const execute = () => 'second';\n");
  await site.start();
  a = `localhost:${site.port}`;
  await site.start(["--port", "0", "--mods", "others"]);
  b = `localhost:${site.port}`;
});
afterAll(() => site[Symbol.asyncDispose]());

const client = (args: string[], options: RunOptions = {}) =>
  run([site.client, ...args], { cwd: site.path, ...options });
const onBoth = (...args: string[]) => client(["exec", "-H", a, "-H", b, ...args]);
/** Hosts take turns as they come. */
const sorted = (output: string) => output.trimEnd().split("\n").sort();

describe("exec on several hosts", () => {
  test("prints each line after its host", async () => {
    const { exitCode, stdout, stderr } = await onBoth("same", "x");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(sorted(stdout)).toEqual(
      [`${a}| got x`, `${a}| second line`, `${b}| got x`, `${b}| second line`].sort(),
    );
  });

  test("joins the parts of a stream to lines", async () => {
    expect(sorted((await onBoth("stream")).stdout)).toEqual(
      [`${a}| one`, `${a}| two`, `${b}| one`, `${b}| two`].sort(),
    );
  });

  test("takes the hosts before the command's name too", async () => {
    const { stdout } = await client(["-H", a, "-H", b, "exec", "stream"]);
    expect(sorted(stdout)).toHaveLength(4);
  });

  test("prints an object for each host with --json", async () => {
    const { exitCode, stdout, stderr } = await onBoth("--json", "same");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const objects = jsonLines(stdout) as { host: string }[];
    expect(objects.sort((x, y) => Number(x.host === b) - Number(y.host === b))).toMatchObject([
      { host: a, state: "done", mod: "same.ts", result: "got \nsecond line\n" },
      { host: b, state: "done", mod: "same.ts", result: "got \nsecond line\n" },
    ]);
  });

  test("builds the arguments from the schema, and prints its table once", async () => {
    expect(sorted((await onBoth("schema", "env=x")).stdout)).toContain(`${a}| {"env":"x"}`);
    const { exitCode, stdout, stderr } = await onBoth("schema");
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr.match(/env is missing/g)).toHaveLength(2);
    expect(stderr.match(/^ {2}env +string +yes/gm)).toHaveLength(1);
  });

  test("calls nothing when they run different versions, unless they may be mixed", async () => {
    const refused = await onBoth("differs");
    expect({ exitCode: refused.exitCode, stdout: refused.stdout }).toEqual({ exitCode: 4, stdout: "" });
    expect(refused.stderr).toMatch(
      new RegExp(`run different versions of differs: [0-9a-f]{64} at ${a}; [0-9a-f]{64} at ${b}\\.`),
    );
    const mixed = await onBoth("--mixed", "differs");
    expect(mixed.exitCode).toBe(0);
    expect(sorted(mixed.stdout)).toEqual([`${a}| first`, `${b}| second`].sort());
  });

  test("calls nothing when one cannot be reached, unless they may be mixed", async () => {
    const hosts = ["-H", a, "-H", gone];
    const refused = await client(["exec", ...hosts, "same"]);
    expect({ exitCode: refused.exitCode, stdout: refused.stdout }).toEqual({ exitCode: 3, stdout: "" });
    expect(refused.stderr).toStartWith("error: 1 of 2 hosts failed:\n  localhost:1  Cannot connect");
    expect(refused.stderr).toContain("Nothing was called on the others.");
    const mixed = await client(["exec", ...hosts, "--mixed", "same", "x"]);
    expect({ exitCode: mixed.exitCode, stdout: mixed.stdout }).toEqual({
      exitCode: 3,
      stdout: `${a}| got x\n${a}| second line\n`,
    });
    const json = jsonLines((await client(["exec", ...hosts, "--json", "same"])).stdout);
    expect(json).toMatchObject([
      { host: gone, state: "failed", code: "unreachable" },
      { host: a, state: "not called", tree: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
  });

  test("ends with the exit code of the worst", async () => {
    expect((await onBoth("fails")).exitCode).toBe(1);
    expect((await onBoth("nothing")).exitCode).toBe(2);
    const worst = await client(["exec", "-H", a, "-H", gone, "--mixed", "fails"]);
    expect(worst.exitCode).toBe(3);
    expect(worst.stderr).toContain("error: 2 of 2 hosts failed:");
    expect(worst.stderr).toContain("no more");
  });

  test.skipIf(process.platform === "win32")(
    "lets no host write the lines of another on a terminal",
    async () => {
      await using terminal = new Terminal([site.client, "exec", "-H", a, "-H", b, "escape"], site.path);
      expect(await terminal.ended()).toBe(0);
      expect(strayEscapes(terminal.output.replaceAll("\r\n", "\n"))).toEqual([]);
      expect(sorted(terminal.output.replaceAll("\r\n", "\n"))).toEqual(
        [a, b].map((host) => `${host}| \\u001b[2J\\u000db| forged`).sort(),
      );
    },
  );
});

test("a host may be a name of the client's settings", async () => {
  const file = join(site.path, "veripy.toml");
  await Bun.write(file, `[hosts.one]\naddress = "${a}"\n[hosts.two]\naddress = "${b}"\n`);
  try {
    const { stdout } = await client(["exec", "-H", "one", "-H", "two", "stream"]);
    expect(sorted(stdout)).toEqual(["one| one", "one| two", "two| one", "two| two"]);
    const same = await client(["exec", "-H", "one", "-H", a, "stream"]);
    expect({ exitCode: same.exitCode, stderr: same.stderr }).toEqual({
      exitCode: 2,
      stderr: `error: one and ${a} are the same server, ${a}.\n`,
    });
  } finally {
    await rm(file);
  }
});

describe("--hosts", () => {
  test("reads the hosts from a file or from standard input", async () => {
    const list = `# both\n${a}\n\n${b} # the other\n`;
    await Bun.write(join(site.path, "hosts"), list);
    for (const [file, options] of [
      ["hosts", {}],
      ["-", { stdin: list }],
    ] as const) {
      const { exitCode, stdout } = await client(["exec", "--hosts", file, "stream"], options);
      expect(exitCode).toBe(0);
      expect(sorted(stdout)).toHaveLength(4);
    }
  });

  test("prefixes the output even if it names only one", async () => {
    const { stdout } = await client(["exec", "--hosts", "-", "stream"], { stdin: a });
    expect(stdout).toBe(`${a}| one\n${a}| two\n`);
  });

  test.each<[args: string[], list: string, problem: string]>([
    [[], "a b\n", "standard input: line 1: 'a b' is not a host."],
    [[], "#\n", "standard input names no hosts."],
    [["-H", "x"], "a\n", "Give only one of them."],
    [["--stdin"], "a\n", "not both."],
    [["--raw"], "a\nb\n", "--raw and --output are for one host"],
    [["-o", "out"], "a\nb\n", "--raw and --output are for one host"],
    [["-p", "5"], "a\na:5\n", "a and a:5 are the same server, a:5."],
  ])("with %j and %j is refused", async (args, list, problem) => {
    const { exitCode, stderr } = await client(["exec", "--hosts", "-", ...args, "same"], { stdin: list });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(problem);
  });

  test("that cannot be read is refused", async () => {
    const { exitCode, stderr } = await client(["exec", "--hosts", "missing", "same"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("Cannot read missing");
  });
});

test("other commands take the last --host, as before", async () => {
  const { exitCode, stdout } = await client(["describe", "-H", gone, "-H", a, "same"]);
  expect(exitCode).toBe(0);
  expect(stdout).toStartWith("same.ts");
});
