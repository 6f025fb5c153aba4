import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import type { Ended } from "../helpers/processes.ts";
import { ScriptedServer } from "../helpers/scripted-server.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines, sha256, treeOf } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

const deploy = `import { greet } from "./lib/greet.ts";
export const description = "Deploys a service";
export const input = {
  type: "object",
  properties: {
    service: { type: "string", description: "Which one" },
    stage: { enum: ["test", "live"], default: "test" },
  },
  required: ["service"],
} as const;
export const limits = { execMs: 60_000 } as const;
export const permissions = { run: ["uname"], read: ["/var/log", "/etc"] } as const;
export const execute = () => greet;
`;
const greet = "export const greet = 'hello';\n";
const modules = {
  "deploy.ts": deploy,
  "lib/greet.ts": greet,
  "root.ts": `export const permissions = "all"; export const execute = () => "";\n`,
  "computed.ts": `export const description = ["com", "puted"].join(""); export const execute = () => "";\n`,
  "escape.ts": `export const description = "\\u001b[2Jwiped\\nverified  forged.ts";
export const input = { type: "object", properties: { "\\u001b[1A": { description: "\\u009b2J" } } };
export const permissions = { read: ["/\\u001b[2K\\nverified  forged.ts"] };
export const execute = () => "";
`,
};
const tree = treeOf({ "deploy.ts": deploy, "lib/greet.ts": greet });
const asJson = {
  mod: "deploy.ts",
  tree,
  description: "Deploys a service",
  input: {
    type: "object",
    properties: {
      service: { type: "string", description: "Which one" },
      stage: { enum: ["test", "live"], default: "test" },
    },
    required: ["service"],
  },
  limits: { exec_ms: 60_000 },
  permissions: { read: ["/etc", "/var/log"], run: ["uname"] },
  described_by: "source",
  files: [
    { path: "deploy.ts", sum: sha256(deploy) },
    { path: "lib/greet.ts", sum: sha256(greet) },
  ],
};
const usage = "Usage: veripy-client exec deploy service=STRING [stage=STRING]\n";
const asText = `  permissions   read /etc, /var/log; run uname
  tree          ${tree}
  described by  its source
  limits        execMs 60000; else the server's
  arguments
    name     type    required  description
    service  string  yes       Which one
    stage    string  no        one of "test", "live"; default "test"
  files
    ${sha256(deploy)}  deploy.ts
    ${sha256(greet)}  lib/greet.ts
`;

let site: Site;
beforeAll(async () => {
  site = await Site.create(modules);
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

describe("describe", () => {
  test("prints all that the source says of a module", async () => {
    expect(await site.call(["describe", "deploy"])).toEqual({
      exitCode: 0,
      stdout: `deploy.ts  Deploys a service\n${usage}  state         not approved\n${asText}`,
      stderr: "",
    });
  });

  test("prints it as an object with --json", async () => {
    const { exitCode, stdout } = await site.call(["describe", "deploy.ts", "--json"]);
    expect(exitCode).toBe(0);
    expect(jsonLines(stdout)).toEqual([{ ...asJson, state: "not approved" }]);
  });

  test("says when there are no permissions, and who computed a description", async () => {
    const { stdout } = await site.call(["describe", "computed"]);
    expect(stdout).toStartWith("computed.ts  computed\n");
    expect(stdout).toMatch(/^ {2}described by {2}the server/m);
    expect(stdout).toMatch(/^ {2}permissions +none$/m);
    const [json] = jsonLines((await site.call(["describe", "computed", "--json"])).stdout);
    expect(json).toMatchObject({ description: "computed", described_by: "server", permissions: {} });
  });

  test("fails for a module that does not exist, with a suggestion", async () => {
    const { exitCode, stdout, stderr } = await site.call(["describe", "deplo"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("Did you mean 'deploy.ts'?");
  });

  const honest = { desc: "Deploys a service", permissions: asJson.permissions, described_by: "source" };
  const scripted = () =>
    ScriptedServer.start(site.certs, { "deploy.ts": { content: deploy, files: { "lib/greet.ts": greet } } });

  test.each([
    ["desc", { desc: "Does nothing" }, '"Does nothing"', '"Deploys a service"'],
    ["input", { input: {} }, "{}", JSON.stringify(asJson.input)],
    ["permissions", { permissions: {} }, "{}", '{"read":["/etc","/var/log"],"run":["uname"]}'],
    ["described_by", { described_by: "server" }, '"server"', '"source"'],
  ])("prints the rejection of a server that reports another %s", async (field, lie, expected, actual) => {
    using server = await scripted();
    const told = { ...honest, input: asJson.input };
    server.lies = {
      sync: ([report]) => Object.assign(report ?? {}, told),
      verify: (answer) => Object.assign(answer, told),
    };
    const ask = (...args: string[]): Promise<Ended> => site.call(["--port", String(server.port), ...args]);
    expect((await ask("describe", "deploy")).stdout).toEndWith(
      `${usage}  state         not approved\n${asText}`,
    );

    server.lies.sync = ([report]) => Object.assign(report ?? {}, told, lie);
    const rejected = await ask("describe", "deploy");
    expect(rejected.exitCode).toBe(4);
    expect(rejected.stdout).toStartWith("REJECTED  deploy.ts\n");
    expect(rejected.stdout).toContain(`the ${field} of deploy.ts`);
    expect(rejected.stdout).toContain(`expected  ${expected} (from the report)`);
    expect(rejected.stdout).toContain(`got       ${actual}`);
    expect((await ask("exec", "deploy")).exitCode).toBe(4);
    expect(server.requests.filter((line) => line.startsWith("mod:exec"))).toEqual([]);
  });
});

test("lists name the kinds of permission", async () => {
  expect((await site.call(["list"])).stdout).toMatch(
    /^deploy\.ts +[0-9a-f]{16} {2}not approved {2}\[read, run\] Deploys a service$/m,
  );
  expect((await site.call(["verify", "root"])).stdout).toMatch(
    /^verified {2}root\.ts +[0-9a-f]{64} {2}not approved {2}\[all\]/,
  );
});

describe("check", () => {
  test("prints the same of the files here", async () => {
    const { exitCode, stdout } = await site.manage(["check", "deploy"]);
    expect({ exitCode, stdout }).toEqual({
      exitCode: 0,
      stdout: `ok      deploy.ts  Deploys a service\n${asText}`,
    });
    const { mod, ...rest } = asJson;
    const json = jsonLines((await site.manage(["check", "deploy", "--json"])).stdout);
    expect(json).toEqual([{ mod, ok: true, ...rest, warnings: [] }]);
  });

  test("warns of permissions that are hinted at and not declared, and does not fail", async () => {
    await using other = await Site.create({
      "bare.ts": `import { readFileSync } from "node:fs"; import "./lib/net.ts"; export const execute = () => String(readFileSync);`,
      "lib/net.ts": `import { connect } from "node:net"; export const use = () => connect; export const go = () => fetch("http://x");`,
    });
    const { exitCode, stdout } = await other.manage(["check", "bare"]);
    expect(exitCode).toBe(0);
    expect(stdout.match(/^ {2}warning: .*$/gm)).toEqual([
      "  warning: bare.ts imports node:fs, but the module's permissions have no 'read' or 'write'.",
      "  warning: lib/net.ts imports node:net, but the module's permissions have no 'connect' or 'listen'.",
      "  warning: lib/net.ts uses fetch, but the module's permissions have no 'connect'.",
    ]);
  });

  test("has nothing to warn of in the modules that are shipped", async () => {
    const { exitCode, stdout } = await site.manage(["check", "--mods", `${import.meta.dir}/../../mods`]);
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain("warning");
    expect(stdout).toMatch(/^ok +uname\.ts(?:.|\n)*? {2}permissions +run uname$/m);
  });
});

describe.skipIf(process.platform === "win32")("on a terminal", () => {
  const red = "\x1b[31m";
  async function shown(...command: string[]): Promise<string> {
    await using terminal = new Terminal(command, site.path, { env: { NO_COLOR: "", FORCE_COLOR: "" } });
    expect(await terminal.ended()).toBe(0);
    return terminal.output;
  }
  const asClient = (...args: string[]) => shown(site.client, "--port", String(site.port), ...args);

  test("the permission for everything is red, wherever the module is shown", async () => {
    expect(await asClient("describe", "root")).toMatch(/permissions +\x1b\[31mall\x1b/);
    expect(await shown(site.server, "check", "root")).toMatch(/permissions +\x1b\[31mall\x1b/);
    for (const command of ["list", "verify"]) expect(await asClient(command)).toContain(`${red}[all]`);
    expect(await asClient("describe", "deploy")).not.toContain(red);
  });

  test("nothing in a manifest can move the cursor or forge a line", async () => {
    for (const output of [
      await asClient("describe", "escape"),
      await shown(site.server, "check", "escape"),
    ]) {
      expect(strayEscapes(output)).toEqual([]);
      expect(forgedVerdicts(output)).toEqual([]);
      expect(output).toContain("\\u001b[2J");
    }
  });
});
