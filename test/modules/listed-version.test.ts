import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { withDefaultLimits } from "../../src/base/limits.ts";
import { type HostedVersion, listVersion } from "../../src/modules/hosted-version.ts";
import { ResidentProcesses } from "../../src/modules/resident-processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { gone, LoadedVersion, load, sourceOf } from "../helpers/versions.ts";
import { eventually } from "../helpers/within.ts";

async function list(text: string, residents = new ResidentProcesses()): Promise<LoadedVersion> {
  const limits = withDefaultLimits({ killGraceMs: 150, loadMs: 5_000 });
  const version = listVersion(await sourceOf(text), { limits, residents });
  if (version === undefined) throw new Error("It was not listed.");
  return new LoadedVersion(version);
}

const stateOf = (version: HostedVersion) => version.stats().state;

test("a version is described by its source before it has a process, and the first call starts one", async () => {
  await using m = await list(`
    export const description = "says who it is";
    export const input = { type: "string" };
    export const limits = { execMs: 1_234 };
    export const execute = () => String(process.pid);`);
  expect([m.version.desc, m.version.input]).toEqual(["says who it is", { type: "string" }]);
  expect(m.version.stats()).toMatchObject({ state: "idle", pid: undefined, restarts: 0 });
  const pid = Number(await m.result('"x"'));
  expect(m.version.stats()).toMatchObject({ state: "running", pid, restarts: 0 });
});

test("a version that only its process can describe is not listed, and one whose source is at fault is refused", async () => {
  const options = { limits: withDefaultLimits() };
  const computed = await sourceOf(
    `export const description = "a".repeat(3); export const execute = () => "";`,
  );
  expect(listVersion(computed, options)).toBeUndefined();
  const faulty = await sourceOf(`export const limits = { execMs: 2 * 3 }; export const execute = () => "";`);
  expect(() => listVersion(faulty, options)).toThrow("a literal");
});

test("prove starts it once; a version that does not load is found out each time, and may recover", async () => {
  await using directory = await temporaryDirectory();
  const flag = join(directory.path, "broken");
  await writeFile(flag, "");
  await using m = await list(`
    import { existsSync } from "node:fs";
    if (existsSync(${JSON.stringify(flag)})) throw new Error("not yet");
    export const permissions = { read: [${JSON.stringify(directory.path)}] };
    export const execute = () => "ok";`);
  for (let i = 0; i < 2; i++)
    expect(await m.version.prove().then(String, String)).toContain("m.ts does not load: not yet");
  expect(stateOf(m.version)).toBe("failing");
  await rm(flag);
  await m.version.prove();
  const { pid } = m.version.stats();
  await m.version.prove();
  expect(m.version.stats()).toMatchObject({ state: "running", pid });
  expect(await m.result()).toBe("ok");
});

test("a call and prove at the same time start one process", async () => {
  await using m = await list("export const execute = () => String(process.pid);");
  const call = m.begin();
  await m.version.prove();
  await call.ended;
  expect(m.version.stats()).toMatchObject({ state: "running", restarts: 0 });
});

test("a process that was only tried does not stay when enough others do", async () => {
  const residents = new ResidentProcesses(1);
  const text = "export const execute = () => String(process.pid);";
  await using busy = await list(text, residents);
  await busy.result();
  await using tried = await list(text, residents);
  await tried.version.prove();
  expect([stateOf(busy.version), stateOf(tried.version)]).toEqual(["running", "idle"]);
  // A call's process stays, and the one that was used before it ends.
  await tried.result();
  await eventually("the other to end", () => stateOf(busy.version) === "idle");
  expect(stateOf(tried.version)).toBe("running");
});

for (const declared of ["limits = { resident: true }", "permissions = { listen: [8099] }"]) {
  test(`a module with ${declared} stays, and is started again when it ends`, async () => {
    const residents = new ResidentProcesses(0);
    await using m = await list(
      `export const ${declared}; export const execute = () => String(process.pid);`,
      residents,
    );
    expect(m.version.isResident).toBe(true);
    await m.version.prove();
    const first = Number(await m.result());
    process.kill(first, "SIGKILL");
    const second = await eventually("another process", () => {
      const { pid } = m.version.stats();
      return pid === first ? undefined : pid;
    });
    expect(Number(await m.result())).toBe(second);
    m.version.replaced();
    await gone(second, "the replaced version");
    expect(stateOf(m.version)).toBe("idle");
  });
}

test("the process of a replaced version ends soon after its last call, and a call starts another", async () => {
  await using m = await load(`
    export const execute = async (args: string) => { await Bun.sleep(Number(args)); return String(process.pid); };`);
  const { pid = 0 } = m.version.stats();
  const call = m.begin("1500");
  m.version.replaced();
  expect(await call.ended).toEqual({ ok: true, resultJson: `"${pid}"` });
  await gone(pid, "the replaced version");
  expect(Number(await m.result("0"))).not.toBe(pid);
  // A trial of it would start a process that nobody needs.
  await eventually("its end", () => stateOf(m.version) === "idle");
  await m.version.prove();
  expect(stateOf(m.version)).toBe("idle");
});

const liars: Record<string, [name: string, text: string]> = {
  "limits that it changes": ["limits", "export const limits = { execMs: 5 } as any; limits.execMs = 50_000;"],
  "permissions that it changes": [
    "permissions",
    `export const permissions = { read: ["/srv"] }; permissions.read.push("/");`,
  ],
  "permissions that are none": [
    "permissions",
    "export const permissions = { connect: [80] } as any; permissions.connect[0] = {};",
  ],
  "an input that it changes": [
    "input",
    `export const input = { type: "string" } as any; input.type = "number";`,
  ],
};

for (const [what, [name, text]] of Object.entries(liars)) {
  test(`a module with ${what} while it loads does not load`, async () => {
    const source = `${text} export const execute = () => "";`;
    await using m = await list(source);
    const message = `m.ts exports other '${name}' than its source says.`;
    expect(await m.version.prove().then(String, String)).toContain(message);
    expect(stateOf(m.version)).toBe("failing");
    expect(await load(source).then(String, String)).toContain(message);
  });
}

test("permissions in another order, and a computed description, are no lie", async () => {
  await using m = await load(`
    export const permissions = { connect: [443, 80, 443], read: [] };
    export const limits = { maxCallsQueued: 3, execMs: 2_000 };
    export const description = ["a", "b"].join(" ");
    export const execute = () => "";`);
  expect(m.version.desc).toBe("a b");
});

test("what a module does before anybody has called it does not happen when it is only listed", async () => {
  await using directory = await temporaryDirectory();
  const trace = join(directory.path, "trace");
  await using m = await list(`
    import { writeFileSync } from "node:fs";
    export const permissions = { write: [${JSON.stringify(directory.path)}] };
    writeFileSync(${JSON.stringify(trace)}, "");
    export const execute = () => "";`);
  expect(existsSync(trace)).toBe(false);
  await m.result();
  expect(existsSync(trace)).toBe(true);
});
