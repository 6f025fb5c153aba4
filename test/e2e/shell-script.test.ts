import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "echo.ts": 'export const execute = (args: string) => "echo " + args;\n',
    "fails.ts": 'export const execute = () => { throw new Error("it broke"); };\n',
    "endless.ts": "export const execute = () => new Promise(() => {});\n",
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

const script = (lines: string, ...flags: string[]) => site.call([...flags, "shell"], { stdin: lines });

describe("a script for the shell", () => {
  test("runs each line, without a prompt", async () => {
    expect(await script("# a comment\n\necho one\r\n  echo 'two  words' # more\necho three")).toEqual({
      exitCode: 0,
      stdout: "echo one\necho two  words\necho three\n",
      stderr: "",
    });
  });

  test.each([
    ["a module that fails", "fails", 1, "Line 2: it broke"],
    ["a module that is not there", "ecko", 2, "Line 2: There is no module 'ecko'. Did you mean 'echo.ts'?"],
    ["a quote that is not closed", "echo 'x", 2, "Line 2: The quote ' is not closed."],
    ["operands that a command does not take", "list x", 2, "Line 2: 'list' takes no 'x'."],
    [
      "a command that is not of the shell",
      "approve echo",
      2,
      "Line 2: 'approve' is not a command of the shell.",
    ],
    ["a difference", "diff echo", 1, "The script stopped at line 2, with exit code 1."],
  ])("stops at %s, with its exit code", async (_, line, exitCode, message) => {
    const ended = await script(`echo one\n${line}\necho three\n`);
    expect(ended.exitCode).toBe(exitCode);
    expect(ended.stdout).toStartWith("echo one\n");
    expect(ended.stdout).not.toContain("echo three");
    expect(ended.stderr).toContain(message);
  });

  test("stops at a call that takes too long", async () => {
    const ended = await site.call(["shell", "--timeout", "300ms"], { stdin: "endless\necho late\n" });
    expect(ended).toMatchObject({ exitCode: 5, stdout: "" });
    expect(ended.stderr).toContain("Line 1: ");
  });

  test("ends at 'exit', whatever follows", async () => {
    expect(await script("echo one\nexit\nfails\n")).toMatchObject({ exitCode: 0, stdout: "echo one\n" });
  });

  test("with --json prints an object for each result, and for the error", async () => {
    const { stdout, stderr, exitCode } = await script("echo one\nfails\n", "--json");
    expect(jsonLines(stdout)).toMatchObject([
      { mod: "echo.ts", result: "echo one" },
      { error: "Line 2: it broke", code: "exec_failed" },
    ]);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 1 });
  });

  test("that is not UTF-8 is refused", async () => {
    await using client = new Running([site.client, "--port", String(site.port), "shell"], {
      cwd: site.path,
      stdin: "pipe",
    });
    client.process.stdin?.write(new Uint8Array([0xff, 0xfe, 0x0a]));
    client.endInput();
    expect(await client.ended()).toBe(2);
    await client.line("Cannot read the script: ");
  });

  test("runs lines as they come, and ends at a failure while more may come", async () => {
    await using client = new Running([site.client, "--port", String(site.port), "shell"], {
      cwd: site.path,
      stdin: "pipe",
    });
    client.write("echo one\n");
    await client.line("echo one");
    client.write("fails\n");
    expect(await client.ended()).toBe(1);
  });

  test("keeps no history", async () => {
    await script("echo one\n");
    expect(await Bun.file(`${site.path}/shell_history`).exists()).toBe(false);
  });

  test("is held to the lock as exec is, and refused at once by --locked without an entry", async () => {
    await using other = await Site.create({
      "new.ts": 'export const execute = () => "new";\n',
      "echo.ts": 'export const execute = () => "echo";\n',
    });
    await other.start();
    const run = (lines: string, ...flags: string[]) => other.call([...flags, "shell"], { stdin: lines });
    expect(await run("echo\n", "--locked")).toMatchObject({ exitCode: 4, stdout: "" });
    const [echo] = jsonLines((await other.call(["list", "--json"])).stdout).filter(
      ({ mod }) => mod === "echo.ts",
    );
    const approved = await other.call(["approve", "echo", "--yes", "--tree", String(echo?.tree)]);
    expect(approved.exitCode).toBe(0);
    expect(await run("echo\n", "--locked")).toMatchObject({ exitCode: 0, stdout: "echo\n" });
    const pending = await run("echo\nnew\n");
    expect(pending).toMatchObject({ exitCode: 4, stdout: "echo\n" });
    expect(pending.stderr).toContain("Line 2: ");
  });
});
