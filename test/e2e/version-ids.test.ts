import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { AnsweringServer, honestFrame } from "../helpers/answering-server.ts";
import { newIdentity } from "../helpers/keys.ts";
import { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines, sha256, treeOf } from "../helpers/tools.ts";

setDefaultTimeout(20_000);

const library = "export const shout = (text: string) => text.toUpperCase();\n";
const content = (what: string) => `import { shout } from "./lib/shout.ts";
export const description = "Shouts";
export const execute = () => shout("${what}");
`;
const filesOf = (what: string) => ({ "shout.ts": content(what), "lib/shout.ts": library });
const tree = treeOf(filesOf("one"));
const short = tree.slice(0, 16);
const wide = "export const description = 'wide'; export const execute = () => '';\n";

let site: Site;
let port: string;
let server: Running;

beforeAll(async () => {
  site = await Site.create({ ...filesOf("one"), "日本語.ts": wide });
  const reserved = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  port = String(reserved.port);
  reserved.stop(true);
  // Its log as a person reads it.
  server = new Running([site.server, "--port", port], { cwd: site.path });
  await server.line("Listening on");
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

const call = async (...args: string[]) => {
  const { exitCode, stdout, stderr } = await site.call(["--port", port, ...args]);
  expect({ exitCode, stderr: stderr.replace(/^consistent, not approved: .*\n/, "") }).toEqual({
    exitCode: 0,
    stderr: "",
  });
  return stdout;
};
const lineOf = (text: string, mod: string) => text.split("\n").find((line) => line.includes(mod)) ?? "";

describe("a version is known by its tree", () => {
  test("in lists, short, and whole with --json", async () => {
    expect(lineOf(await call("list"), "shout.ts")).toMatch(
      new RegExp(`^shout\\.ts +${short}  not approved  Shouts$`),
    );
    expect(jsonLines(await call("list", "--json"))).toContainEqual(expect.objectContaining({ tree }));

    await call("exec", "shout");
    expect(lineOf(await call("modules"), "shout.ts")).toMatch(new RegExp(`^shout\\.ts +${short}  `));
    expect(jsonLines(await call("modules", "--json"))).toContainEqual(expect.objectContaining({ tree }));
  });

  test("in verify, whole, with the sums of its files as sha256sum prints them", async () => {
    expect(await call("verify", "shout")).toBe(
      `verified  shout.ts          ${tree}  not approved  Shouts\n` +
        `          ${sha256(content("one"))}  shout.ts\n` +
        `          ${sha256(library)}  lib/shout.ts\n`,
    );
    expect(await call("verify", "日本語")).toContain(`          ${sha256(wide)}  日本語.ts\n`);
  });

  test("in watch and in the server's log, short", async () => {
    await using watching = new Running([site.client, "--port", port], { cwd: site.path });
    await watching.line(new RegExp(`^verified  shout\\.ts +${short}  not approved  Shouts$`));
    await server.line(new RegExp(`: modload: shout\\.ts ${short}$`));
    const next = treeOf(filesOf("two"));
    await site.write("shout.ts", content("two"));
    await watching.line(new RegExp(`^modreload +shout\\.ts +${next.slice(0, 16)}  Shouts$`));
    await watching.line(new RegExp(`^verified  shout\\.ts +${next.slice(0, 16)}  not approved  Shouts$`));
    await server.line(new RegExp(`: modreload: shout\\.ts ${next.slice(0, 16)}$`));
  });
});

test("columns are aligned, even with double-width characters in names", async () => {
  for (const command of ["list", "modules"]) {
    const lines = (await call(command)).trimEnd().split("\n");
    const starts = lines.map((line) => {
      const second = /^\S+ +/.exec(line)?.[0] ?? "";
      return Bun.stringWidth(second);
    });
    expect({ command, starts: new Set(starts).size }).toEqual({ command, starts: 1 });
  }
});

describe("of a server that reports less", () => {
  test("the list has the sum and says so; a verified module has its tree", async () => {
    const identity = await newIdentity("server");
    using plain = new AnsweringServer(identity);
    plain.script = (line) => honestFrame(line).replaceAll(/,"tree":"\w+"|,"files":\[\]/g, "");
    const flags = [
      "--port",
      String(plain.port),
      "--certs",
      "plain",
      "--server-fingerprint",
      identity.fingerprint,
    ];
    await site.newClient("plain");
    await Bun.file(`${site.path}/plain/server.crt`).delete();
    const echo = "export const execute = (args: string) => args;\n";

    const listed = await call(...flags, "list");
    expect(lineOf(listed, "echo.ts")).toContain(`  sum:${sha256(echo).slice(0, 16)}  `);
    const verified = await call(...flags, "verify", "echo");
    expect(verified).toContain(treeOf({ "echo.ts": echo }));
    expect(verified).toContain(sha256(echo));
  });
});

describe("run times", () => {
  const stats = (p50_ms: number, p99_ms: number) => ({
    ...{ mod: "a.ts", tree, current: true, state: "running", pid: 7, memory_bytes: 3 * 1024 ** 2 },
    ...{ calls: 1, failures: 0, restarts: 0, in_flight: 0, p50_ms, p99_ms },
  });

  test.each([
    [0.04312, 1.254, "0.043 ms  1.25 ms"],
    [12.345, 523.4, "12.3 ms  523 ms"],
    [5240, 86_400_000, "5240 ms  86400000 ms"],
    [0, 1e-9, "0.000 ms  0.000 ms"],
  ])("of %p and %p ms are shown as %p", async (p50, p99, shown) => {
    const identity = await newIdentity("server");
    using answering = new AnsweringServer(identity);
    answering.script = (line) => {
      const ref = /^mod:stats:(\S+)/.exec(line)?.[1];
      if (ref === undefined) return honestFrame(line);
      return `mod:stats_resp:${ref} ${JSON.stringify({ modules: [stats(p50, p99)] })}\n`;
    };
    await site.newClient("times");
    await Bun.file(`${site.path}/times/server.crt`).delete();
    const flags = ["--port", String(answering.port), "--certs", "times"];
    const output = await call(...flags, "--server-fingerprint", identity.fingerprint, "modules");
    expect(lineOf(output, "a.ts")).toEndWith(`  0  ${shown}`);
  });
});
