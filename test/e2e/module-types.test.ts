import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type Ended, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";

setDefaultTimeout(90_000);

const compiler = join(import.meta.dir, "../../node_modules/typescript/bin/tsc");
/** The settings of an editor in a folder where nothing is installed. */
const settings = {
  compilerOptions: { strict: true, noEmit: true, target: "esnext", module: "esnext", types: [] },
};

let site: Site;
beforeAll(async () => {
  site = await Site.create();
  const { stdout, stderr, exitCode } = await site.manage(["types"]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  await site.write("veripy.d.ts", stdout);
  await site.write("tsconfig.json", JSON.stringify(settings));
});
afterAll(() => site?.[Symbol.asyncDispose]());

function typeCheck(module: string): Promise<Ended> {
  return site
    .write("module.ts", module)
    .then(() => run([process.execPath, compiler, "-p", join(site.path, "mods")], { deadlineMs: 60_000 }));
}

const module = `
import type { Execute, ModuleContext, ModuleExports, ModuleLimits, ModuleLog, Permissions } from "veripy";
export const description = "Uses everything that a module may";
export const input = { type: "integer" };
export const limits: ModuleLimits = { execMs: 1_000, maxResultBytes: 10, retain: 0, resident: true };
export const permissions = { read: ["/var/log"], run: ["git"], connect: [443] } as const satisfies Permissions;
export async function* execute(args: string, { signal, progress, log, client, ref, mod, tree }: ModuleContext) {
  const { info }: ModuleLog = log;
  info([client.fingerprint, client.name ?? "", ref, mod, tree].join());
  progress(undefined, "begun");
  if (!signal.aborted) yield args;
  return "done";
}
const exported: ModuleExports = { description, input, limits, permissions, execute: execute satisfies Execute };
console.log(exported);
`;

test("a module compiles against the output of 'veripy-server types', with nothing installed", async () => {
  expect(await typeCheck(module)).toEqual({ exitCode: 0, stdout: "", stderr: "" });
});

test.each([
  ["a part of the context that is none", ["client, ref", "caller, ref"], "caller"],
  ["a limit that is none", ["execMs", "execSeconds"], "execSeconds"],
  ["a permission that is none", ["connect: [443]", "network: [443]"], "network"],
  ["a port that is no number", ["connect: [443]", 'connect: ["443"]'], "number"],
  ["an answer that is no string", ["yield args", "yield 1"], "number"],
])("a module with %s does not", async (_, [before = "", after = ""], complaint) => {
  const { exitCode, stdout } = await typeCheck(module.replace(before, after));
  expect(exitCode).not.toBe(0);
  expect(stdout).toContain(complaint);
});

test("the declarations may be in mods/, and are not loaded as a module", async () => {
  await site.write("module.ts", "export const execute = () => '';\n");
  const { stdout, exitCode } = await site.manage(["check"]);
  expect(exitCode).toBe(0);
  expect(stdout).not.toContain("veripy.d.ts");
});
