import { describe, expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { $ } from "bun";
import { defaultLimits } from "../../src/base/limits.ts";
import type { ModuleContext, ModuleExports } from "../../src/host/api.ts";
import { isModuleName } from "../../src/source/module-scanner.ts";
import { readModuleSource } from "../../src/source/read-source.ts";

const modsDir = join(import.meta.dir, "../../mods");
const names = (await readdir(modsDir)).filter(isModuleName);

const context: ModuleContext = {
  signal: new AbortController().signal,
  client: { fingerprint: "f".repeat(64) },
  ref: "1",
  mod: "test.ts",
  tree: "0".repeat(64),
  log: { debug() {}, info() {}, warn() {}, error() {} },
  progress() {},
};

async function run(mod: string, args: string): Promise<string> {
  const { execute } = (await import(join(modsDir, mod))) as ModuleExports;
  const result = await execute(args, context);
  if (typeof result !== "string") throw new Error(`${mod} streams; this helper does not.`);
  return result;
}

test("the shipped modules are these", () => {
  expect(names.sort()).toEqual(["disk.ts", "hello.ts", "sysinfo.ts", "uname.ts"]);
});

describe.each(names)("%s", (mod) => {
  test("can be read as a module and describes itself in one line", async () => {
    const source = await readModuleSource(modsDir, mod, defaultLimits);
    expect(source.files).toEqual([]);
    const { description } = (await import(join(modsDir, mod))) as ModuleExports;
    expect(description).toMatch(/^[A-Z][^\n]{10,100}$/);
  });
});

test("hello.ts greets by name, and the world without a name", async () => {
  expect(await run("hello.ts", "World")).toBe("Hello, World!");
  expect(await run("hello.ts", "Ada Lovelace")).toBe("Hello, Ada Lovelace!");
  expect(await run("hello.ts", " ")).toBe("Hello, World!");
});

test("uname.ts prints what uname prints", async () => {
  expect(await run("uname.ts", "")).toBe((await $`uname`.text()).trimEnd());
  expect(await run("uname.ts", "-s  -r\n-m")).toBe((await $`uname -s -r -m`.text()).trimEnd());
});

test.each(["--help", "-s;id", "$(id)", "-s`id`", "/etc/passwd", "-", "-x"])(
  "uname.ts refuses '%s'",
  async (args) => {
    await expect(run("uname.ts", args)).rejects.toThrow(`uname does not know '${args}'`);
  },
);

test("uname.ts stops when its call is aborted", async () => {
  const { execute } = (await import(join(modsDir, "uname.ts"))) as ModuleExports;
  const aborted = (async () => execute("", { ...context, signal: AbortSignal.abort() }))();
  await expect(aborted).rejects.toThrow("aborted");
});

test("sysinfo.ts shows one line for each thing", async () => {
  const lines = (await run("sysinfo.ts", "")).split("\n");
  expect(lines[0]).toBe(`Host:    ${hostname()}`);
  expect(lines.map((line) => line.replace(/:.*/, ""))).toEqual([
    "Host",
    "System",
    "Load",
    "Memory",
    "Uptime",
  ]);
  expect(lines[4]).toMatch(/^Uptime: {2}\d+ d \d+ h \d+ min$/);
});

test("disk.ts shows the file system at a path, and fails for one that is not there", async () => {
  expect(await run("disk.ts", "")).toMatch(
    /^\/: \d+\.\d of \d+\.\d GiB used \(\d+ %\), \d+\.\d GiB available$/,
  );
  expect(await run("disk.ts", modsDir)).toStartWith(`${modsDir}: `);
  await expect(run("disk.ts", "/no/such/path")).rejects.toThrow("ENOENT");
});
