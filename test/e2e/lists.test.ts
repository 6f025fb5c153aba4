import { describe, expect, test } from "bun:test";
import { servedSite } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";

const { site } = await servedSite();
const long = `Says ${"very ".repeat(30)}much`;
await site.write("long.ts", `export const description = "${long}";\nexport const execute = () => "";\n`);
await site.write(
  "日本語.ts",
  'export const description = "漢字漢字漢字漢字漢字漢字漢字漢字";\nexport const execute = () => "";\n',
);

/** What a command shows on a terminal. */
async function shown(args: string[], columns: number, env: Record<string, string> = {}): Promise<string[]> {
  const command = [site.client, "--port", String(site.port), ...args];
  await using terminal = new Terminal(command, site.path, { columns, env });
  await terminal.ended();
  return terminal.screen;
}

async function piped(...args: string[]): Promise<string[]> {
  return (await site.call(args)).stdout.split("\n").filter((line) => line !== "");
}

const lists = {
  list: /^name +tree +state/,
  verify: /^verdict +name +tree +state/,
  modules: /^module +version/,
  log: /^time +event/,
};

describe("a list", () => {
  test("has a header on a terminal and none in a pipe", async () => {
    await piped("verify");
    for (const [command, header] of Object.entries(lists)) {
      expect((await shown([command], 200)).some((line) => header.test(line))).toBe(true);
      const lines = await piped(command);
      expect(lines.length).toBeGreaterThan(0);
      expect(lines.some((line) => header.test(line))).toBe(false);
    }
  });

  test("of keys has one too", async () => {
    await using terminal = new Terminal([site.server, "keys"], site.path);
    await terminal.ended();
    expect(terminal.output).toMatch(/^ {2}name +key +may do/m);
    expect((await site.manage(["keys"])).stdout).not.toContain("may do");
  });

  test("cuts a long description to the terminal's width, and never in a pipe", async () => {
    for (const columns of [70, 100]) {
      const line = (await shown(["list"], columns)).find((one) => one.startsWith("long.ts")) ?? "";
      expect(line).toEndWith("…");
      expect(Bun.stringWidth(line)).toBe(columns);
    }
    expect(await shown(["list"], 400)).toContainEqual(expect.stringContaining(long));
    expect(await piped("list")).toContainEqual(expect.stringContaining(long));
    expect(await piped("verify")).toContainEqual(expect.stringContaining(long));
  });

  test("measures wide characters, and shows names and trees whole on a narrow terminal", async () => {
    const lines = (await shown(["list"], 66)).filter((line) => /[0-9a-f]{16}/.test(line));
    const columnOf = (line: string) => Bun.stringWidth(line.slice(0, line.search(/[0-9a-f]{16}/)));
    expect(new Set(lines.map(columnOf)).size).toBe(1);
    expect(Bun.stringWidth(lines.find((line) => line.startsWith("日本語.ts")) ?? "")).toBeLessThanOrEqual(66);
    const narrow = (await shown(["list"], 20)).join("");
    expect(narrow).toContain("日本語.ts");
    expect(narrow.match(/[0-9a-f]{16}/g)?.length).toBe(lines.length);
  });

  test("has no colours with NO_COLOR or on a dumb terminal", async () => {
    const env = { TERM: "xterm", FORCE_COLOR: "" };
    expect((await shown(["verify"], 200, env)).join("")).toContain("\x1b[32m");
    for (const plain of [{ TERM: "xterm", NO_COLOR: "1" }, { TERM: "dumb" }])
      expect((await shown(["verify"], 200, plain)).join("")).not.toContain("\x1b");
  });
});
