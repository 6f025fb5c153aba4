import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { defaultLimits } from "../../src/index.ts";
import { run } from "../helpers/processes.ts";
import { Project } from "../helpers/project.ts";

setDefaultTimeout(180_000);

let project: Project;
beforeAll(async () => {
  project = await Project.create();
});
afterAll(() => project?.[Symbol.asyncDispose]());

const program = `
import { connect, type ModuleContext, serve, type Verdict, VeripyError } from "veripy";
import { runModuleHost } from "veripy/module-host";

export async function main(): Promise<string> {
  const server = await serve({ port: 0, limits: { execMs: 1_000 } });
  server.on("refused", ({ reason, address }) => console.log(reason, address));
  const client = await connect({ host: "localhost", port: server.port, certsDir: "./certs" });
  const verdicts: readonly Verdict[] = await client.verifyAll();
  const { result, tree } = await client.exec("hello", "World", { timeoutMs: 5_000 });
  if (verdicts.length === 0) throw new VeripyError("not_found", "nothing");
  return result + tree;
}
export async function mistakes(client: Awaited<ReturnType<typeof connect>>): Promise<unknown[]> {
  // @ts-expect-error: no such option
  const other = await connect({ hots: "localhost" });
  // @ts-expect-error: the result is a string
  const result: number = (await client.exec("hello", "")).result;
  // @ts-expect-error: no such code
  return [other, result, new VeripyError("no_such_code", "")];
}
export const host: () => Promise<never> = runModuleHost;
export const execute = (args: string, { signal, client: { fingerprint } }: ModuleContext) =>
  signal.aborted ? args : fingerprint;
`;

describe("in a project that has added the package", () => {
  test("a program compiles with strict settings and nodenext, and every declaration is checked", async () => {
    await project.write({ "program.ts": program });
    expect(await project.typeCheck()).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  test("a program with a type error does not compile", async () => {
    await project.write({ "program.ts": program.replace("{ host:", "{ hots:") });
    const { exitCode, stdout } = await project.typeCheck();
    expect(exitCode).not.toBe(0);
    expect(stdout).toContain("hots");
  });

  test("a program runs", async () => {
    await project.write({
      "run.ts":
        'import { defaultLimits, serve } from "veripy";\nconsole.log(typeof serve, defaultLimits.retain);\n',
    });
    const { stdout, stderr } = await run([process.execPath, "run.ts"], { cwd: project.path });
    expect({ stdout, stderr }).toEqual({ stdout: `function ${defaultLimits.retain}\n`, stderr: "" });
  });

  test("the package contains only what it needs: no keys, no trust file, no tests", async () => {
    const folder = join(project.path, "node_modules/veripy");
    const names = [
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "SECURITY.md",
      "dist-types",
      "docs",
      "mods",
      "package.json",
      "src",
    ];
    const found = (await readdir(folder)).filter((name) => name !== "node_modules" && name !== ".bun-tag");
    expect(found.sort()).toEqual(names);
    expect(existsSync(join(folder, "src/index.ts"))).toBe(true);
  });
});
