import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const enterScreen = "\u001b[?1049h";
const leaveScreen = "\u001b[?1049l";
const home = "\u001b[H";

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "alpha.ts": 'export const execute = () => "a";\n',
    "世界.ts": 'export const execute = () => "w";\n',
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

interface Opened {
  flags?: string[];
  columns?: number;
  port?: number;
  env?: Record<string, string>;
}

function open({ flags = [], columns = 120, port = site.port, env = {} }: Opened = {}): Terminal {
  const command = [site.client, "--port", String(port), "top", "--interval", "200ms", ...flags];
  return new Terminal(command, site.path, { columns, env });
}

/** The lines of the last whole frame, without styles. */
function frame(terminal: Terminal): string[] {
  const frames = terminal.output.split(home).slice(1);
  const whole = frames.findLast((one) => one.includes("\u001b[J")) ?? "";
  return Bun.stripANSI(whole).replaceAll("\r", "").split("\n");
}

/** Waits for a frame in which a line matches. */
const shows = (terminal: Terminal, pattern: RegExp): Promise<string> =>
  eventually(`${pattern} in a frame`, () => frame(terminal).find((line) => pattern.test(line)), 10_000).catch(
    (error: Error) => {
      throw new Error(`${error.message} It shows:\n${frame(terminal).join("\n")}`);
    },
  );

const names = (terminal: Terminal) =>
  frame(terminal)
    .slice(4)
    .map((line) => line.split(" ")[0]);

describe.skipIf(process.platform === "win32")("on a terminal, top", () => {
  test("redraws a table until q, and then shows what was there before", async () => {
    await using top = open();
    await shows(top, /^module +approval +state +calls\/s +p50 +p99 +memory +in flight +failed$/);
    await site.call(["exec", "alpha"]);
    await shows(top, /^alpha\.ts +not approved +running +[1-9]/);
    await shows(top, /^alpha\.ts +not approved +running +0 .* ms .* MiB +0 +0$/);
    top.type("q");
    expect(await top.ended()).toBe(0);
    expect(top.output.startsWith(enterScreen)).toBe(true);
    expect(top.output.endsWith(`\u001b[?25h${leaveScreen}`)).toBe(true);
    expect(top.output.split(leaveScreen)).toHaveLength(2);
  });

  test("draws each frame over the one before: it never clears the screen, and shows no half line of it", async () => {
    await using top = open();
    await eventually("five frames", () => top.output.split(home).length > 5, 10_000);
    expect(top.output).not.toContain("\u001b[2J");
    for (const one of top.output.split(home).slice(1, 5)) {
      const lines = one.split("\n");
      for (const line of lines.slice(0, -1)) expect(line.replace(/\r+$/, "")).toEndWith("\u001b[K");
      expect(lines.at(-1)).toEndWith("\u001b[K\u001b[J");
    }
  });

  test("sorts by the key that is pressed, and r reverses", async () => {
    await using top = open();
    await shows(top, /by calls\/s$/);
    for (const [key, name] of [
      ["m", "memory"],
      ["p", "p99"],
      ["f", "in flight"],
      ["c", "calls/s"],
      ["n", "name"],
    ] as const) {
      top.type(key);
      await shows(top, new RegExp(` by ${name}$`));
    }
    expect(names(top)).toEqual(["alpha.ts", "hello.ts", "世界.ts"]);
    top.type("r");
    await shows(top, / by name, reversed$/);
    expect(names(top)).toEqual(["世界.ts", "hello.ts", "alpha.ts"]);
    // An arrow sends ESC, [ and a letter that is no key here.
    top.type("\u001b[m");
    top.type("x");
    top.type("r");
    await shows(top, / by name$/);
  });

  test("fits its columns, also after a resize", async () => {
    await using top = open({ columns: 80 });
    await shows(top, /^module +approval +state +calls\/s +p99 +memory +in flight$/);
    for (const columns of [200, 40, 20, 5, 80]) {
      const before = top.output.length;
      top.resize(columns, 24);
      await eventually("a frame of that width", () => {
        const drawn = top.output.slice(before);
        return drawn.includes(home) && drawn.includes("\u001b[J");
      });
      await eventually(`${columns} columns`, () =>
        frame(top).every((line) => Bun.stringWidth(line) < columns),
      );
    }
    await shows(top, /in flight$/);
  });

  test("shows as many rows as there are", async () => {
    await using top = open();
    await shows(top, /^世界\.ts/);
    top.resize(120, 5);
    await eventually("five lines", () => frame(top).length === 5);
  });

  test.each([
    ["Ctrl-C", (top: Terminal) => top.type("\u0003"), 130],
    ["SIGINT", (top: Terminal) => top.signal("SIGINT"), 130],
    ["SIGTERM", (top: Terminal) => top.signal("SIGTERM"), 143],
  ])("%s leaves the terminal as it was", async (_, end, exitCode) => {
    await using top = open();
    await shows(top, /^module/);
    end(top);
    expect(await top.ended()).toBe(exitCode);
    expect(top.output.endsWith(`\u001b[?25h${leaveScreen}`)).toBe(true);
  });

  test("says that the connection is cut, and goes on when it is back", async () => {
    using relay = new Relay(site.port);
    await using top = open({ port: relay.port });
    await shows(top, /q quit$/);
    relay.blackHole(true);
    relay.cutAll();
    await shows(top, /connection/);
    relay.blackHole(false);
    relay.cutAll();
    await shows(top, /q quit$/);
    top.type("q");
    expect(await top.ended()).toBe(0);
  });

  test("on a dumb terminal prints a table at each interval", async () => {
    await using top = open({ env: { TERM: "dumb" } });
    await eventually("two tables", () => top.output.split("calls/s").length > 2, 10_000);
    expect(top.output).not.toContain("\u001b[H");
  });

  test("colours nothing with NO_COLOR", async () => {
    await using top = open({ env: { NO_COLOR: "1" } });
    await shows(top, /^module/);
    expect(top.output).not.toMatch(/\u001b\[[0-9;]*m/);
  });
});

describe("elsewhere, top", () => {
  test("says that it needs a terminal, --once or --json", async () => {
    const { exitCode, stdout, stderr } = await site.call(["top"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("--once");
  });

  test("--once prints one table with all columns, and on a terminal a header", async () => {
    const { exitCode, stdout, stderr } = await site.call(["top", "--once", "--interval", "100ms"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const rows = stdout.trimEnd().split("\n");
    expect(rows.map((row) => row.split(" ")[0])).toEqual(["alpha.ts", "hello.ts", "世界.ts"]);

    await using terminal = open({ flags: ["--once"], columns: 200, env: { NO_COLOR: "1" } });
    expect(await terminal.ended()).toBe(0);
    expect(terminal.screen[0]).toMatch(
      /^module +approval +state +calls\/s +p50 +p99 +memory +in flight +failed$/,
    );
  });

  test("--json prints an object for each module at each interval", async () => {
    const client = site.watch(["top", "--json", "--interval", "100ms"]);
    await eventually("two intervals", () => client.stdout.length >= 6, 10_000);
    client.process.kill("SIGTERM");
    const records = jsonLines(client.stdout.slice(0, 6).join("\n"));
    expect(records.map(({ mod }) => mod)).toEqual([1, 2].flatMap(() => ["alpha.ts", "hello.ts", "世界.ts"]));
    expect(records[0]).toMatchObject({
      approval: "not approved",
      state: expect.any(String),
      calls: expect.any(Number),
      calls_per_second: 0,
      in_flight: 0,
    });
  });

  test.each(["50ms", "2h", "soon"])("an interval of %p is refused", async (interval) => {
    expect(await site.call(["top", "--once", "--interval", interval])).toMatchObject({
      exitCode: 2,
      stdout: "",
    });
  });
});
