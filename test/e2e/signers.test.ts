import { beforeAll, expect, test } from "bun:test";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { source, treeOfModule } from "../helpers/approval-desk.ts";
import { binaries } from "../helpers/binaries.ts";
import { CatalogueDesk } from "../helpers/catalogue-desk.ts";
import { type Ended, Running, run } from "../helpers/processes.ts";
import type { ScriptedModule } from "../helpers/scripted-server.ts";

let client: string;
beforeAll(async () => {
  client = (await binaries()).client;
});

const one = source("one");
const two = source("two");
const signed = "signed by ops@example (serial 42)";
const signedJson = { principal: "ops@example", serial: 42, name: "prod" };

function call(desk: CatalogueDesk, ...args: string[]): Promise<Ended> {
  return run([client, ...desk.flags, ...args], { cwd: desk.approvals.certs });
}

async function open(
  modules: Record<string, ScriptedModule> = { "a.ts": one, "b.ts": two },
): Promise<CatalogueDesk> {
  const desk = await CatalogueDesk.open(modules);
  await desk.publish({ serial: 42 });
  return desk;
}

test.each(["list", "verify", "describe a.ts", "modules", "exec a.ts"])(
  "'%s' says who signed what it shows",
  async (command) => {
    await using desk = await open();
    const { stdout, stderr, exitCode } = await call(desk, ...command.split(" "));
    expect([stderr, exitCode]).toEqual([expect.any(String), 0]);
    expect(stdout + stderr).toContain(signed);
    // What is signed is not merely consistent.
    expect(stderr).not.toContain("consistent");
    const json = await call(desk, "--json", ...command.split(" "));
    const records = json.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const field = command === "modules" ? "catalogue" : "signed";
    expect(records.some((record) => Bun.deepEquals(record[field], signedJson))).toBe(true);
  },
);

test.each(["list", "verify", "describe b.ts", "exec b.ts"])(
  "'%s' ends with exit code 4 for what is not signed, and runs nothing",
  async (command) => {
    await using desk = await open();
    desk.server.modules["b.ts"] = one;
    const { stdout, stderr, exitCode } = await call(desk, ...command.split(" "));
    expect(exitCode).toBe(4);
    expect(stdout + stderr).toMatch(/NOT SIGNED|the catalogue prod, serial 42/);
    expect(desk.approvals.asked("mod:exec")).toBe(0);
  },
);

test.each(["list", "verify", "exec a.ts", "describe a.ts", "modules", "watch"])(
  "'%s' ends with exit code 4 where the catalogue is not accepted",
  async (command) => {
    await using desk = await open();
    if (desk.server.catalogue === undefined) throw new Error("There is no catalogue.");
    const { text, signature } = desk.server.catalogue;
    desk.server.catalogue = { text: text.replace("prod", "evil"), signature };
    const { stderr, exitCode } = await call(desk, ...command.split(" "));
    expect(stderr).toContain("is not accepted");
    expect(exitCode).toBe(4);
  },
);

test("a catalogue that is not accepted does not keep anybody from denying a module; approving fails", async () => {
  await using desk = await open();
  desk.server.catalogue = undefined;
  expect((await call(desk, "deny", "a.ts", "--tree", treeOfModule("a.ts", one))).exitCode).toBe(0);
  const approval = await call(desk, "approve", "b.ts", "--tree", treeOfModule("b.ts", two), "--yes");
  expect(approval.stderr).toContain("is not accepted");
  expect(approval.exitCode).toBe(4);
});

test("the flags may stand after the command, and the settings file may have them, also per host", async () => {
  await using desk = await open();
  const { approvals, signers, home } = desk;
  const at = (...args: string[]) => run([client, ...args], { cwd: approvals.certs });
  const after = await at("list", ...approvals.flags, "--signers", signers, "--signer", "ops@example");
  expect(after.stdout).toContain(signed);
  const other = await at("list", ...approvals.flags, "--signers", signers, "--signer", "dev@example");
  expect([other.exitCode, other.stderr]).toEqual([4, expect.stringContaining("not dev@example's")]);
  const alone = await at("list", ...approvals.flags, "--signer", "ops@example");
  expect([alone.exitCode, alone.stderr]).toEqual([2, expect.stringContaining("--signers")]);
  // A path in the file starts at its folder.
  const relative = join("..", basename(signers));
  expect(join(home, relative)).toBe(join(dirname(home), basename(signers)));
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "veripy.toml"), `signers = "${relative}"\nsigner = "ops@example"\n`);
  expect((await at("list", ...approvals.flags)).stdout).toContain(signed);
  const config = await at("config", "--home", home);
  expect(config.stdout).toMatch(/signers +\S+allowed_signers +\S+veripy\.toml:1/);
  const named = `[hosts.prod]\naddress = "127.0.0.1:${desk.server.port}"\nsigners = "${relative}"\nsigner = "dev@example"\n`;
  await writeFile(join(home, "veripy.toml"), named);
  const [, , , , ...rest] = approvals.flags;
  expect((await at("list", "-H", "prod", ...rest)).exitCode).toBe(4);
});

test("'watch' shows a new catalogue, and what it says of the modules that have changed", async () => {
  await using desk = await open();
  await using watching = new Running([client, ...desk.flags, "--json"], { cwd: desk.approvals.certs });
  await watching.line('"mod":"b.ts"');
  desk.server.modules["a.ts"] = two;
  desk.server.broadcast("modreload", desk.server.report("a.ts"));
  expect(await watching.line('"verified":false')).toContain("the catalogue prod, serial 42");
  await desk.publish({ serial: 43 });
  desk.announce();
  expect(JSON.parse(await watching.line('"event":"catalogue"'))).toMatchObject({ signed: { serial: 43 } });
  expect(await watching.line('"cause":"catalogue"')).toContain('"verified":true');
});
