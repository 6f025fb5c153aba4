import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { connect } from "../../src/index.ts";
import { forgedVerdicts, strayEscapes } from "../helpers/escapes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(30_000);

const deploy = `export const description = "Deploys a service";
export const input = {
  type: "object",
  properties: {
    env: { type: "string", enum: ["test", "prod"], description: "Where to" },
    dry_run: { type: "boolean" },
    count: { type: "integer" },
    tags: { type: "array", items: { type: "string" } },
  },
  required: ["env"],
} as const;
export const execute = (args: string) => { console.log("ran"); return args; };
`;
const tableOfDeploy = `  name     type             required  description
  env      string           yes       Where to; one of "test", "prod"
  dry_run  boolean          no
  count    integer          no
  tags     array of string  no
`;

let site: Site;
beforeAll(async () => {
  site = await Site.create({
    "deploy.ts": deploy,
    "words.ts": "export const execute = (args: string) => args;\n",
    "text.ts": `export const input = { type: "string" };\nexport const execute = (args: string) => args;\n`,
    "escape.ts": `export const input = { type: "object", properties: { "\\u001b[2J": { description: "\\nverified  x.ts" } }, required: ["\\u001b[2J"] };
export const execute = () => "";\n`,
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

const exec = (...args: string[]) => site.call(["exec", ...args]);

describe("exec", () => {
  test("builds the arguments from the module's schema", async () => {
    const words = ["env=prod", "dry_run:=true", "count=3", "tags=a", "tags=b"];
    expect(await exec("deploy", ...words)).toEqual({
      exitCode: 0,
      stdout: '{"env":"prod","dry_run":true,"count":3,"tags":["a","b"]}\n',
      stderr: "",
    });
  });

  test("takes one argument that begins with { as JSON", async () => {
    expect((await exec("deploy", '{"env": "test"}')).stdout).toBe('{"env": "test"}\n');
  });

  test("joins the words of a module without an object for a schema", async () => {
    expect((await exec("words", "a=1", "{", "--b")).stdout).toBe("a=1 { --b\n");
    expect((await exec("text", '"a', 'b"')).stdout).toBe('"a b"\n');
  });

  test("leaves standard input as it is", async () => {
    const { stdout } = await site.call(["exec", "--stdin", "deploy"], { stdin: '{"env":"test"}' });
    expect(stdout).toBe('{"env":"test"}\n');
  });

  test.each<[words: string[], message: string]>([
    [[], "env is missing."],
    [["evn=prod"], "it takes no 'evn'. Did you mean 'env'?"],
    [["env=prod", "count=many"], "count must be an integer, not 'many'."],
    [
      ["env=live"],
      'args.env: Instance does not match any of ["test","prod"]. The arguments are {"env":"live"}',
    ],
    [["prod"], "'prod' is not an argument. Write NAME=VALUE."],
  ])("refuses %j with the table of the arguments, before anything is sent", async (words, message) => {
    expect(await exec("deploy", ...words)).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: `error: Cannot call deploy.ts: ${message}\n${tableOfDeploy}`,
    });
    const { exitCode, stdout } = await exec("--json", "deploy", ...words);
    expect(exitCode).toBe(2);
    expect(jsonLines(stdout)).toEqual([
      { error: `Cannot call deploy.ts: ${message}`, code: "bad_arguments", started: false },
    ]);
  });

  test("sends no call that does not fit the schema", async () => {
    const calls = async () =>
      (jsonLines((await site.call(["modules", "--json"])).stdout) as { mod: string; calls: number }[]).find(
        ({ mod }) => mod === "deploy.ts",
      )?.calls;
    const before = await calls();
    await exec("deploy", "env=live");
    await exec("deploy", "count=x");
    expect(await calls()).toBe(before);
    await exec("deploy", "env=prod");
    expect(await calls()).toBe((before ?? 0) + 1);
  });

  test("escapes what a schema says", async () => {
    const { exitCode, stderr } = await exec("escape");
    expect(exitCode).toBe(2);
    expect(strayEscapes(stderr)).toEqual([]);
    expect(forgedVerdicts(stderr)).toEqual([]);
  });
});

test("describe prints how to call a module", async () => {
  const usage = async (mod: string) => (await site.call(["describe", mod])).stdout.split("\n")[1];
  expect(await usage("deploy")).toBe(
    "Usage: veripy-client exec deploy env=STRING [dry_run=BOOLEAN] [count=INTEGER] [tags=STRING …]",
  );
  expect(await usage("words")).toBe("Usage: veripy-client exec words [TEXT …]");
  expect(await usage("text")).toBe("Usage: veripy-client exec text JSON");
  expect(strayEscapes((await site.call(["describe", "escape"])).stdout)).toEqual([]);
});

test("under a lock, the schema is that of the approved version, which runs", async () => {
  await using other = await Site.create({ "deploy.ts": deploy });
  const server = await other.start();
  const options = {
    port: other.port,
    home: other.path,
    lock: join(other.path, "veripy.lock"),
  };
  using client = await connect(options);
  const verdict = await client.verify("deploy");
  if (!verdict.verified) throw new Error("The module is rejected.");
  await client.approvals.approve(verdict);

  const loaded = server.line("modreload: deploy.ts");
  await other.write("deploy.ts", deploy.replace("count:", "amount:"));
  await loaded;
  using later = await connect(options);
  expect(later.approvals.of("deploy").state).toBe("pending");
  expect((await later.exec("deploy", ["env=prod", "count=1"])).result).toBe('{"env":"prod","count":1}');
  await expect(later.exec("deploy", ["env=prod", "amount=1"])).rejects.toMatchObject({
    code: "bad_arguments",
  });
});
