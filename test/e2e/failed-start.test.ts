import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { binaries } from "../helpers/binaries.ts";
import { Running, run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(60_000);

let server: string;
let client: string;
let taken: Bun.TCPSocketListener<undefined>;
beforeAll(async () => {
  ({ server, client } = await binaries());
  taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
});
afterAll(() => taken?.stop(true));

const trusted = JSON.stringify({ trusted_fingerprints: ["ab".repeat(32)] });
/** Leaves a file when it is run, the only trace of a module before the server listens. */
const telling = `
import { writeFileSync } from "node:fs";
writeFileSync(process.cwd() + "/loaded", "");
export const execute = () => "";
`;

async function folder(files: Record<string, string>) {
  const here = await temporaryDirectory();
  await mkdir(join(here.path, "mods"));
  for (const [name, text] of Object.entries(files)) await Bun.write(join(here.path, name), text);
  return here;
}

describe("a start that fails creates no key and runs no module:", () => {
  const inUse = "the port is in use";
  const cases: [string, () => string[], Record<string, string>, string][] = [
    ["a port in use", () => ["-i", "127.0.0.1", "--port", String(taken.port)], {}, inUse],
    ["a port for metrics in use", () => ["--metrics", String(taken.port)], {}, "Cannot serve metrics"],
    ["broken trusted keys", () => [], { "trusted-keys.json": "{" }, "trusted-keys.json"],
    ["an unknown flag", () => ["--no-such-flag"], {}, "--no-such-flag"],
    ["a bad limit", () => ["--retain", "many"], {}, "--retain"],
    ["an unknown module user", () => ["--module-user", "nobody-of-this-name"], {}, "nobody-of-this-name"],
    ["an audit file that cannot be opened", () => ["--audit", "no/such/folder/audit"], {}, "audit"],
  ];
  test.each(cases)("%s", async (_, flags, files, says) => {
    await using here = await folder({ "trusted-keys.json": trusted, "mods/telling.ts": telling, ...files });
    const { exitCode, stderr } = await run([server, "--port", "0", ...flags()], { cwd: here.path });
    expect(stderr).toContain(says);
    expect(exitCode).toBe(2);
    expect(existsSync(join(here.path, "certs"))).toBe(false);
    expect(existsSync(join(here.path, "loaded"))).toBe(false);
  });

  test("no trusted keys at all", async () => {
    await using here = await folder({ "mods/telling.ts": telling });
    const { exitCode } = await run([server, "--port", "0"], { cwd: here.path });
    expect(exitCode).toBe(2);
    expect(readdirSync(here.path)).toEqual(["mods"]);
  });
});

test("a start that succeeds creates a key, and a later one that fails keeps it", async () => {
  await using here = await folder({ "trusted-keys.json": trusted });
  {
    await using running = new Running([server, "--port", "0"], { cwd: here.path });
    await running.line("Listening on ");
  }
  const key = () => readFileSync(join(here.path, "certs/server.key"), "utf8");
  const before = key();
  const flags = ["-i", "127.0.0.1", "--port", String(taken.port)];
  expect((await run([server, ...flags], { cwd: here.path })).exitCode).toBe(2);
  expect(key()).toBe(before);
});

test.each(["list", "verify", "exec hello", "watch"])(
  "a client without a key does not create one for '%s'",
  async (command) => {
    await using here = await temporaryDirectory();
    const { exitCode, stderr } = await run([client, "-p", String(taken.port), ...command.split(" ")], {
      cwd: here.path,
    });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("veripy-client init");
    expect(readdirSync(here.path)).toEqual([]);
  },
);

describe("a --mods folder that does not exist", () => {
  test("causes a warning at the start, and its modules are loaded when it appears", async () => {
    await using here = await temporaryDirectory();
    await Bun.write(join(here.path, "trusted-keys.json"), trusted);
    await using running = new Running([server, "--port", "0", "--mods", "later"], { cwd: here.path });
    const warning = await running.line(join(here.path, "later"));
    expect(warning).toMatch(/warning.*The folder .* does not exist.*They will be loaded when it appears/);
    await running.line("Listening on ");
    await Bun.write(join(here.path, "later/hello.ts"), "export const execute = () => '';\n");
    await running.line(/modload: hello\.ts/);
  });

  test("causes a warning that an empty folder does not cause", async () => {
    await using here = await folder({ "trusted-keys.json": trusted });
    await using running = new Running([server, "--port", "0"], { cwd: here.path });
    await running.line("Listening on ");
    expect(running.stderr.join("\n")).not.toContain("does not exist, so there are no modules");
  });
});

test("two servers that start at the same time in one new folder get the same key", async () => {
  await using here = await folder({ "trusted-keys.json": trusted });
  const start = () => new Running([server, "--port", "0"], { cwd: here.path });
  await using first = start();
  await using second = start();
  const key = async (running: Running) => /key is (\S+)\./.exec(await running.line("Listening on "))?.[1];
  expect(await key(first)).toBe((await key(second)) ?? "");
  await eventually("the key", () => existsSync(join(here.path, "certs/server.key")));
});
