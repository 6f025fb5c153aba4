import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";

setDefaultTimeout(20_000);

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "imports.ts": `import { hostname } from "node:os";
import { word } from "./lib/word.ts";
export const execute = async () => [word, typeof hostname(), process.env.FROM_DOTENV ?? "unset"].join(" ");
`,
    "lib/word.ts": `export const word: string = "honest";\n`,
  });
  await setTraps(site.path);
  await setTraps(join(site.path, "mods"));
  await setTraps(join(site.path, "mods/lib"));
});
afterAll(() => site[Symbol.asyncDispose]());

/** Leaves a file behind, as a sign that something in a folder was executed. */
const trapped = (folder: string) => join(folder, "EXECUTED");

/** Every file by which a folder can change what a JavaScript runtime does in it. */
async function setTraps(folder: string): Promise<void> {
  const evil = `require("node:fs").writeFileSync(${JSON.stringify(trapped(folder))}, process.argv.join(" "));\n`;
  await mkdir(folder, { recursive: true });
  const traps: Record<string, string> = {
    "evil.cjs": evil,
    "bunfig.toml": 'preload = ["./evil.cjs"]\nlogLevel = "debug"\n[run]\nbun = true\n',
    "tsconfig.json": JSON.stringify({
      compilerOptions: { baseUrl: ".", paths: { "*": ["./evil.cjs"], "node:os": ["./evil.cjs"] } },
    }),
    "package.json": JSON.stringify({
      name: "trap",
      main: "./evil.cjs",
      browser: { "./lib/word.ts": "./evil.cjs", "node:os": "./evil.cjs" },
    }),
  };
  for (const name of [".env", ".env.local", ".env.production", ".env.development"])
    traps[name] = "FROM_DOTENV=set\nVERIPY_CERTS=/nonexistent\nVERIPY_MODS=/nonexistent\nVERIPY_JSON=1\n";
  for (const name of ["zod", "commander", "veripy", "@logtape/logtape", "@peculiar/x509"])
    traps[`node_modules/${name}/index.js`] = evil;
  for (const [name, text] of Object.entries(traps)) await Bun.write(join(folder, name), text);
}

async function nothingWasTrapped(): Promise<void> {
  for (const folder of ["", "mods", "mods/lib"])
    expect(await Bun.file(trapped(join(site.path, folder))).exists()).toBe(false);
}

describe("in a folder full of traps for a JavaScript runtime", () => {
  test("the traps work on the runtime itself", async () => {
    const folder = join(site.path, "elsewhere");
    await setTraps(folder);
    const program = 'console.log(process.env.FROM_DOTENV, require("zod") !== undefined)';
    const { stdout } = await run([process.execPath, "--eval", program], { cwd: folder });
    expect(stdout).toContain("set true");
    expect(await Bun.file(trapped(folder)).exists()).toBe(true);
  });

  test("server, modules and client work as usual, and no trap is executed", async () => {
    expect((await site.manage(["init"])).stdout).toContain("nothing was changed");
    const fingerprint = (await site.manage(["fingerprint"])).stdout;
    expect(fingerprint).toMatch(/^[0-9a-f]{64}\n$/);
    const server = await site.start();
    expect((await site.call(["verify"])).stdout).toMatch(/^verified {2}hello\.ts/);
    expect(await site.call(["exec", "imports"])).toEqual({
      exitCode: 0,
      stdout: "honest string unset\n",
      stderr: "",
    });
    expect((await site.call(["renew"])).exitCode).toBe(0);
    server.process.kill("SIGTERM");
    expect(await server.ended()).toBe(0);
    await nothingWasTrapped();
  });

  const strace = Bun.which("strace");
  const canTrace = strace !== null && Bun.spawnSync([strace, "-f", "-qq", "-D", "true"]).exitCode === 0;

  test.skipIf(!canTrace)("no trap is even opened, as strace shows", async () => {
    const trace = join(site.path, "trace");
    const flags = ["-f", "-qq", "-D", "-e", "trace=open,openat,execve", "-o", trace];
    const traced = (command: string[]) => [strace ?? "", ...flags, ...command];
    await using server = new Running(traced([site.server, "--port", "0", "--json"]), { cwd: site.path });
    const { port } = JSON.parse(await server.line('"port":', 15_000)) as { port: number };
    expect((await site.call(["--port", String(port), "exec", "imports"])).exitCode).toBe(0);
    server.process.kill("SIGTERM");
    await server.ended();
    const opened = (await Bun.file(trace).text()).split("\n").filter((line) => !line.includes("ENOENT"));
    expect(opened.some((line) => line.includes("mods/imports.ts"))).toBe(true);
    const traps = /bunfig\.toml|\.env|tsconfig\.json|package\.json|evil\.cjs|node_modules\/.*\.js/;
    expect(opened.filter((line) => traps.test(line))).toEqual([]);
  });
});

describe.each([
  ["with an empty PATH", { PATH: "" }],
  ["with no environment at all", {}],
])("%s", (_, env) => {
  test("init, serving, calls and reloads work", async () => {
    await using other = await Site.create();
    const second = join(other.path, "second");
    const made = await other.manage(["init", "--certs", second, "--trusted-keys", join(second, "t.json")], {
      env,
    });
    expect(made).toMatchObject({ exitCode: 0, stderr: "" });
    await other.start([], env);
    expect(await other.call(["exec", "hello", "nobody"], { env })).toEqual({
      exitCode: 0,
      stdout: "Hello, nobody!\n",
      stderr: "",
    });
    expect((await other.call(["verify"], { env })).exitCode).toBe(0);
    await other.write("later.ts", "export const execute = async () => process.execPath;\n");
    await using watching = other.watch();
    await watching.line(/^verified {2}later\.ts/);
  });
});

test("modules get the variables they need from the server's environment, but not its secrets", async () => {
  await using other = await Site.create({
    "env.ts": "export const execute = async () => JSON.stringify(process.env);\n",
  });
  await other.start([], {
    PATH: "/usr/bin:/bin",
    HOME: "/tmp",
    DATABASE_PASSWORD: "secret",
    VERIPY_JSON: "1",
  });
  const { stdout } = await other.call(["exec", "env"]);
  const { TMPDIR, ...variables } = JSON.parse(stdout) as Record<string, string>;
  expect(variables).toEqual({ PATH: "/usr/bin:/bin", HOME: "/tmp" });
  // Where modules are not held to permissions, the server's own, which is not set here.
  if (TMPDIR !== undefined) expect(TMPDIR).toMatch(/\/veripy-\w{6}\/m-\w{6}$/);
});

test("variables can stand for flags, and a flag on the command line wins", async () => {
  await using other = await Site.create();
  await other.start([], { VERIPY_PORT: "1", VERIPY_LOG_LEVEL: "info" });
  const listed = await other.call(["list"], { env: { VERIPY_JSON: "1", VERIPY_PORT: "1" } });
  expect(listed.exitCode).toBe(0);
  expect(JSON.parse(listed.stdout)).toMatchObject({ mod: "hello.ts" });
});
