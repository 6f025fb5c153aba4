import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Running, run } from "../helpers/processes.ts";
import { Project } from "../helpers/project.ts";
import { readmeBlocks } from "../helpers/readme.ts";
import { Site } from "../helpers/site.ts";

setDefaultTimeout(180_000);

// Every example in README.md and docs/ is run unchanged. The test fails for a module that is not in this table.
const calls: Record<string, { args: string; stdout: string }> = {
  "Counts to a number": { args: "3", stdout: "1\n2\n3\ndone\n" },
  "Says whether /etc/hosts has a name": { args: "localhost", stdout: "yes\n" },
};

const { modules, programs } = await readmeBlocks();
const titleOf = (module: string) =>
  /description = "([^"]*)"/.exec(module)?.[1] ?? "one without a description";

let site: Site;
let project: Project;
beforeAll(async () => {
  [site, project] = await Promise.all([Site.create(), Project.create()]);
});
afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  await project?.[Symbol.asyncDispose]();
});

describe("a module in the documents", () => {
  test.each(modules.map((module) => [titleOf(module), module]))(
    "%s: loads, runs and answers",
    async (title, module) => {
      const call = calls[title];
      if (call === undefined) throw new Error(`Say in this test how to call the module '${title}'.`);
      await site.write("example.ts", module);
      expect((await site.manage(["check", "example"])).stdout).toMatch(/^ok\s+example\.ts/);
      const server = await site.start();
      const { exitCode, stdout, stderr } = await site.call(["exec", "example", call.args]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      expect(stdout).toBe(call.stdout);
      server.process.kill("SIGTERM");
      await server.ended();
    },
  );
});

describe("a program in the documents", () => {
  test("compiles in a project of its own, together with the modules", async () => {
    const files = [...modules, ...programs].map((text, index) => [`example-${index}.ts`, text] as const);
    await project.write(Object.fromEntries(files));
    expect(await project.typeCheck()).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  test("runs: one serves the modules, and the other calls them", async () => {
    const find = (word: string) => programs.find((text) => text.includes(word)) ?? "";
    const serving = find("await serve(");
    const calling = find("await connect(");
    const server = await run([site.server, "init"], { cwd: project.path });
    expect(server.exitCode).toBe(0);
    await project.write({ "serving.ts": serving });
    await using running = new Running([process.execPath, "serving.ts"], { cwd: project.path });
    const line = await running.line(/^listening on /);
    const port = /:(\d+)/.exec(line)?.[1] ?? "";
    expect(calling).toContain("8443");
    await project.write({ "calling.ts": calling.replaceAll("8443", port) });
    const { exitCode, stdout, stderr } = await run([process.execPath, "calling.ts"], { cwd: project.path });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(/^hello\.ts true\nHello, World! [0-9a-f]{64}\n$/);
    running.process.kill("SIGTERM");
    expect(await running.ended()).toBe(0);
  });
});
