import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, lstat, readdir, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { evilArgument, strayEscapes } from "../helpers/escapes.ts";
import { run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(20_000);

const literal = JSON.stringify(evilArgument);
/** A program's output as a terminal shows it. */
const onTerminal = (text: string) => text.replaceAll("\n", "\r\n");

let site: Site;

beforeAll(async () => {
  site = await Site.create({
    "result.ts": `export const execute = () => ${literal};\n`,
    "parts.ts": `export async function* execute() { yield ${literal}; yield "a\\n\\tb\\n"; return "\\x1b[0m"; }\n`,
    "echo.ts": "export const execute = (args: string) => args;\n",
    "letters.ts": `export async function* execute(args: string) { yield "a"; yield "b"; return args; }\n`,
    // Half a surrogate pair in each part.
    "halves.ts": `export async function* execute() { yield "<\\ud83d"; yield "\\udc0d>"; yield "\\ud83d"; }\n`,
    "fails.ts": `export async function* execute() { yield "half a l"; throw new Error("no more"); }\n`,
    "ran.ts": `import { writeFileSync } from "node:fs";
      export const permissions = "all";
      export const execute = (path: string) => { writeFileSync(path, "it ran"); return "result"; };\n`,
    // A thousand reports and some parts within a second.
    "busy.ts": `export async function* execute(_: string, context: import("veripy").ModuleContext) {
      for (let n = 0; n <= 100; n++) {
        for (let m = 0; m < 10; m++) context.progress(n / 100, "step " + n + "." + m);
        if (n % 20 === 0) yield n % 40 === 0 ? "part " + n + "\\n" : "half of ";
        await Bun.sleep(10);
      }
    }\n`,
    "lines.ts": `export const execute = () => "naïve 日本語 🐍\\n\\tone";\n`,
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

interface Shown {
  readonly columns?: number;
  readonly env?: Record<string, string>;
  readonly exitCode?: number;
}

async function terminalOf(args: string[], { exitCode = 0, ...options }: Shown = {}): Promise<Terminal> {
  await using terminal = new Terminal(
    [site.client, "--port", String(site.port), ...args],
    site.path,
    options,
  );
  expect(await terminal.ended()).toBe(exitCode);
  return terminal;
}

const shown = async (...args: string[]) => (await terminalOf(args)).output;

describe.skipIf(process.platform === "win32")("on a terminal", () => {
  test("results and parts are escaped, except for line breaks and tabs", async () => {
    const result = await shown("exec", "result");
    expect(strayEscapes(result)).toEqual([]);
    expect(result).toContain(
      "\\u001b[32mverified\\u001b[39m  forged.ts\r\nverified  forged.ts\\u000d\\u009b2J",
    );
    expect(result).toEndWith("\\u0008\t.\r\n");
    const parts = await shown("exec", "parts");
    expect(parts).toEndWith("\\u0008\t.a\r\n\tb\r\n\\u001b[0m\r\n");
    expect(strayEscapes(parts)).toEqual([]);
    expect(await shown("exec", "lines")).toBe("naïve 日本語 🐍\r\n\tone\r\n");
  });

  test("a newline is added to a stream that does not end with one", async () => {
    expect(await shown("exec", "letters")).toBe("ab\r\n");
    expect(await shown("exec", "letters", "\n")).toBe("ab\r\n");
  });

  test("an error after an unfinished line is printed on a line of its own", async () => {
    const { output } = await terminalOf(["exec", "fails"], { exitCode: 1 });
    expect(output).toStartWith("half a l\r\n");
    expect(output).toContain("no more");
  });

  test("--raw prints results and parts exactly as received, with no newline added", async () => {
    expect(await shown("exec", "--raw", "result")).toBe(onTerminal(evilArgument));
    expect(await shown("exec", "--raw", "parts")).toBe(onTerminal(`${evilArgument}a\n\tb\n\x1b[0m`));
  });

  test("JSON is escaped, and parses to the same values", async () => {
    for (const flags of [["--json"], ["--json", "--raw"]]) {
      const output = await shown("exec", ...flags, "parts");
      expect(strayEscapes(output)).toEqual([]);
      expect(jsonLines(output.replaceAll("\r\n", "\n"))).toMatchObject([
        { part: evilArgument },
        { part: "a\n\tb\n" },
        { result: "\x1b[0m" },
      ]);
    }
  });
});

const piped = async (...args: string[]) => (await site.call(["exec", ...args])).stdout;

/** Each progress line that was drawn. */
const drawn = (output: string) => output.split("\r").filter((line) => /^\[[=>]/.test(line));

describe.skipIf(process.platform === "win32")("progress on a terminal", () => {
  test("is one line that is redrawn ten times a second, makes room for the stream, and is erased at the end", async () => {
    const start = performance.now();
    const terminal = await terminalOf(["exec", "busy"]);
    const seconds = (performance.now() - start) / 1000;
    expect(terminal.screen).toEqual(["part 0", "half of part 40", "half of part 80", "half of", ""]);
    expect(drawn(terminal.output).length).toBeGreaterThan(3);
    expect(drawn(terminal.output).length).toBeLessThanOrEqual(10 * seconds + 1);
    expect(strayEscapes(terminal.output.replaceAll("\r", "\n"))).toEqual([]);
  });

  test("fits a narrow terminal", async () => {
    const { output } = await terminalOf(["exec", "busy"], { columns: 20 });
    const lines = output.split(/[\r\n]/).filter((line) => line.includes("%"));
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) expect(line.length).toBeLessThan(20);
  });

  test("is not shown if the terminal cannot redraw a line", async () => {
    const { output } = await terminalOf(["exec", "busy"], { env: { TERM: "dumb" } });
    expect(output).toBe("part 0\r\nhalf of part 40\r\nhalf of part 80\r\nhalf of \r\n");
  });
});

describe("--quiet", () => {
  test.skipIf(process.platform === "win32")("shows no progress on a terminal", async () => {
    const output = await shown("exec", "--quiet", "busy");
    expect(output).toBe("part 0\r\nhalf of part 40\r\nhalf of part 80\r\nhalf of \r\n");
  });

  test("leaves out progress with --json", async () => {
    const objects = jsonLines((await site.call(["exec", "-q", "--json", "busy"])).stdout);
    expect(objects.filter((one) => "progress" in (one as object))).toEqual([]);
    expect(objects).toHaveLength(7);
  });

  test("leaves out warnings, and never an error", async () => {
    const key = join(site.certs, "server.crt");
    await chmod(key, 0o664);
    try {
      expect((await site.call(["exec", "echo", "x"])).stderr).toContain("server.crt");
      expect(await site.call(["exec", "--quiet", "echo", "x"])).toEqual({
        exitCode: 0,
        stdout: "x\n",
        stderr: "",
      });
    } finally {
      await chmod(key, 0o644);
    }
    const { exitCode, stderr } = await site.call(["exec", "--quiet", "fails"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining("no more") });
  });
});

describe("in a pipe", () => {
  test("progress is not printed, except as objects with --json", async () => {
    expect(await site.call(["exec", "busy"])).toEqual({
      exitCode: 0,
      stdout: "part 0\nhalf of part 40\nhalf of part 80\nhalf of ",
      stderr: "",
    });
    const { stdout, stderr } = await site.call(["exec", "--json", "busy"]);
    expect(stderr).toBe("");
    expect(jsonLines(stdout)).toContainEqual({ progress: { fraction: 1, message: "step 100.9" } });
  });

  test("no newline is added to a stream, and one is added to a plain result", async () => {
    expect(await piped("letters")).toBe("ab");
    expect(await piped("letters", "c\n")).toBe("abc\n");
    expect(await piped("echo", "c")).toBe("c\n");
    expect(await piped("echo", "c\n")).toBe("c\n");
    expect(await piped("echo")).toBe("");
  });

  test("a character that two parts share is printed whole", async () => {
    expect(await piped("halves")).toBe("<🐍>\ufffd");
  });

  test("results and parts are unchanged", async () => {
    expect(await piped("result")).toBe(`${evilArgument}\n`);
    expect(await piped("parts")).toBe(`${evilArgument}a\n\tb\n\x1b[0m`);
  });

  test("--raw adds no newline to a plain result", async () => {
    expect(await piped("--raw", "result")).toBe(evilArgument);
    expect(await piped("--raw", "parts")).toBe(`${evilArgument}a\n\tb\n\x1b[0m`);
  });
});

test("--raw after the module's name goes to the module", async () => {
  expect((await site.call(["exec", "echo", "--raw"])).stdout).toBe("--raw\n");
});

describe("--output", () => {
  const leftOvers = async () => (await readdir(site.path)).filter((name) => name.endsWith(".tmp"));

  test("writes exactly the result or the stream to a file, and prints nothing", async () => {
    for (const [args, bytes] of [
      [["echo", "x"], "x"],
      [["echo"], ""],
      [["result"], evilArgument],
      [["letters", "c"], "abc"],
      [["halves"], "<🐍>\ufffd"],
    ] as const) {
      const flags = bytes === "x" ? ["--output", "out"] : ["-o", "out"];
      expect(await site.call(["exec", ...flags, ...args])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
      expect(await Bun.file(join(site.path, "out")).text()).toBe(bytes);
    }
    expect(await leftOvers()).toEqual([]);
  });

  test("with - writes exactly the same to standard output", async () => {
    expect((await site.call(["exec", "-o", "-", "echo", "x"])).stdout).toBe("x");
  });

  test("with --json prints the file's name instead of the result", async () => {
    const { stdout } = await site.call(["exec", "--json", "-o", "out", "letters", "c"]);
    const { tree, sum, ...rest } = jsonLines(stdout)[0] as Record<string, unknown>;
    expect(rest).toEqual({ mod: "letters.ts", output: "out" });
    expect(await Bun.file(join(site.path, "out")).text()).toBe("abc");
  });

  test("keeps the old file when the module fails", async () => {
    await Bun.write(join(site.path, "out"), "old");
    expect((await site.call(["exec", "-o", "out", "fails"])).exitCode).toBe(1);
    expect(await Bun.file(join(site.path, "out")).text()).toBe("old");
    expect(await leftOvers()).toEqual([]);
  });

  test("keeps the mode of the old file, and a link to it", async () => {
    const [path, link] = [join(site.path, "private"), join(site.path, "link")];
    await Bun.write(path, "old");
    await chmod(path, 0o600);
    await symlink("private", link);
    expect((await site.call(["exec", "-o", "link", "echo", "new"])).exitCode).toBe(0);
    expect(await Bun.file(path).text()).toBe("new");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await lstat(link)).isSymbolicLink()).toBe(true);
  });

  test.each([
    ["nowhere/out", "Cannot write to nowhere/out: there is no such folder."],
    ["mods", "Cannot write to mods: it is a folder."],
  ])("that can't be written, %s, is an error before the module runs", async (path, message) => {
    const trace = join(site.path, "trace");
    const { exitCode, stderr } = await site.call(["exec", "-o", path, "ran", trace]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: `error: ${message}\n` });
    expect(await Bun.file(trace).exists()).toBe(false);
  });
});

describe("standard input", () => {
  const echoed = async (input: string | Uint8Array) => {
    const path = join(site.path, "input");
    await Bun.write(path, input);
    const command = `exec "$1" --port "$2" exec --output echoed --stdin echo < input`;
    return run(["sh", "-c", command, "sh", site.client, String(site.port)], { cwd: site.path });
  };

  test.each([
    ["a byte-order mark", "\ufeffx"],
    ["NUL and other control characters", "a\0b\x1b\x7f\r\n"],
    ["characters of every plane", "naïve 日本語 🐍\u2028\ufffe\u{10ffff}"],
    ["nothing", ""],
  ])("with %s reaches the module as it is", async (_, text) => {
    expect(await echoed(text)).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    // As bytes, because `text()` would drop the byte order mark.
    const bytes = Buffer.from(await Bun.file(join(site.path, "echoed")).bytes());
    expect(bytes.equals(Buffer.from(text))).toBe(true);
  });

  test.each([
    ["a byte that is never in UTF-8", [0x61, 0xff]],
    ["half a character at the end", [0x61, 0xe2, 0x82]],
    ["a surrogate", [0xed, 0xa0, 0x80]],
  ])("with %s is refused as binary", async (_, bytes) => {
    const { exitCode, stdout, stderr } = await echoed(new Uint8Array(bytes));
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("it is binary data");
    expect(stderr).toContain("base64");
  });
});
