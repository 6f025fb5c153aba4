import { describe, expect, test } from "bun:test";
import { chmod, symlink } from "node:fs/promises";
import { join } from "node:path";
import { sandboxRules, sourcePaths, withTemporaryFolder } from "../../../src/host/parent/sandbox.ts";
import { supportOf } from "../../../src/host/parent/sandbox-support.ts";
import { fileRights, readRights, runRights, writeRights } from "../../../src/host/sandbox-rules.ts";
import type { Permissions } from "../../../src/manifest/permissions.ts";
import { sandboxStatus, sandboxWarnings } from "../../../src/server/sandbox-status.ts";
import { temporaryDirectory } from "../../helpers/temporary.ts";

const rulesOf = (permissions: Permissions, path = "") =>
  sandboxRules("m.ts", permissions, { sources: [], path });
const granted = (permissions: Permissions, path?: string) => {
  const before = new Map(rulesOf({}).paths);
  return Object.fromEntries(
    rulesOf(permissions, path).paths.filter(([file, rights]) => before.get(file) !== rights),
  );
};

describe.skipIf(process.platform !== "linux")("the rules", () => {
  test("without permissions grant what the runtime needs, and no writing but to /dev/null", () => {
    const { paths, connect, listen } = rulesOf({});
    expect([connect, listen]).toEqual([[], []]);
    for (const [path, rights] of paths)
      if (path !== "/dev/null") expect([path, rights & (writeRights & ~fileRights.refer)]).toEqual([path, 0]);
    expect(paths.some(([path]) => ["/", "/proc", "/etc", "/usr", "/tmp", "/dev"].includes(path))).toBe(false);
  });

  test("of read and write grant each what it says", () => {
    expect(granted({ read: ["/srv"] })).toEqual({ "/srv": readRights });
    expect(granted({ write: ["/srv"] })).toEqual({ "/srv": writeRights });
    expect(granted({ read: ["/srv"], write: ["/srv"] })).toEqual({ "/srv": readRights | writeRights });
    const devices = fileRights.makeChar | fileRights.makeBlock | fileRights.makeSock;
    expect((writeRights | readRights) & (devices | fileRights.execute)).toBe(0);
  });

  test("of connect and listen have the ports, and connect brings names and certificates", () => {
    expect(rulesOf({ connect: [443], listen: [80] })).toMatchObject({ connect: [443], listen: [80] });
    expect(granted({ connect: [443] })).toMatchObject({
      "/etc/resolv.conf": readRights,
      "/etc/ssl": readRights,
    });
    expect(granted({ listen: [80] })).toEqual({});
  });

  test("of run grant the real program and its interpreter, and no folder to run from", async () => {
    await using directory = await temporaryDirectory();
    const script = join(directory.path, "script");
    await Bun.write(script, "#!/bin/sh\necho\n");
    await chmod(script, 0o755);
    await symlink(script, join(directory.path, "link"));
    const rules = granted({ run: ["link"] }, directory.path);
    expect(rules[script]).toBe(runRights);
    expect(rules["/bin/sh"]).toBe(runRights);
    expect(rules[join(directory.path, "link")]).toBeUndefined();
    for (const folder of ["/lib", "/usr/lib"]) expect(rules[folder]).toBe(readRights);
  });

  test("for one process add its temporary folder", () => {
    const rules = rulesOf({});
    expect(withTemporaryFolder(rules, "/tmp/a").paths).toEqual([
      ...rules.paths,
      ["/tmp/a", readRights | writeRights],
    ]);
  });
});

test("a program that cannot be run is an error that names the module and the program", async () => {
  await using directory = await temporaryDirectory();
  await Bun.write(join(directory.path, "plain"), "");
  const { path } = directory;
  for (const [run, reason] of [
    [join(path, "none"), /does not exist/],
    [path, /not a file/],
    [join(path, "plain"), /permission|denied|not allowed/i],
    ["plain", /no such program in PATH/],
    ["none", /no such program in PATH/],
  ] as const) {
    const start = `m.ts declares run: ["${run}"], which cannot be run: `;
    expect(() => rulesOf({ run: [run] }, `relative:${path}`)).toThrow(start);
    expect(() => rulesOf({ run: [run] }, `relative:${path}`)).toThrow(reason);
  }
});

test("what a run from the sources reads is src and the packages, not the folder above", () => {
  const paths = sourcePaths("/srv/veripy/src/host/child/entry.ts");
  expect(paths).toContain("/srv/veripy/src");
  expect(paths).toContain("/srv/veripy/node_modules");
  expect(paths).toContain("/srv/node_modules");
  expect(paths).not.toContain("/srv/veripy");
});

describe("what a kernel enforces", () => {
  const all = { read: true, write: true, run: true, connect: true, listen: true, signals: true };

  test("depends on its Landlock ABI and its filters", () => {
    expect(supportOf(7, true).enforced).toEqual(all);
    expect(supportOf(6, true).enforced).toEqual(all);
    expect(supportOf(5, true).enforced).toEqual({ ...all, signals: false });
    expect(supportOf(3, true).enforced).toEqual({ ...all, signals: false, connect: false, listen: false });
    expect(supportOf(2, true).enforced).toMatchObject({ read: true, write: false, run: true });
    expect(supportOf(7, false).enforced).toEqual({ ...all, write: false, connect: false, listen: false });
    expect(Object.values(supportOf(0, true).enforced)).not.toContain(true);
  });

  test("decides what the server says at its start, and whether it starts", () => {
    expect(sandboxWarnings("best-effort", supportOf(6, true))).toEqual([]);
    expect(sandboxWarnings("enforce", supportOf(6, true))).toEqual([]);
    expect(sandboxWarnings("off", supportOf(6, true))).toEqual([
      expect.stringContaining("the sandbox is off"),
    ]);
    expect(sandboxWarnings("best-effort", supportOf(5, true))).toEqual([expect.stringContaining("signals")]);
    expect(() => sandboxWarnings("enforce", supportOf(5, true))).toThrow(/Cannot enforce .*signals/);
    expect(sandboxStatus("enforce", supportOf(6, true))).toEqual({ mode: "enforce", enforced: true, abi: 6 });
    expect(sandboxStatus("best-effort", supportOf(5, true)).enforced).toBe(false);
    expect(sandboxStatus("off", supportOf(7, true)).enforced).toBe(false);
  });
});
