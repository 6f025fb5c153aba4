import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { statOf } from "../../helpers/procfs.ts";
import { temporaryDirectory } from "../../helpers/temporary.ts";
import { gone, isAlive, load } from "../../helpers/versions.ts";
import { eventually, within } from "../../helpers/within.ts";

const isLinux = process.platform === "linux";
const isRoot = process.getuid?.() === 0;

function isReadableByAll(): boolean {
  const paths = [process.execPath, import.meta.path];
  return paths.every(
    (path) => Bun.spawnSync(["cat", path], { uid: 65534, gid: 65534, stdout: "ignore" }).exitCode === 0,
  );
}

/** A server in small: loads one module that spins and one that idles, and prints their processes. */
const serverProgram = `
  import { load } from ${JSON.stringify(join(import.meta.dir, "../../helpers/versions.ts"))};
  const spins = await load("export const execute = () => { for (;;); };");
  const idles = await load("export const execute = () => 'x';");
  spins.begin("", { timeoutMs: 60_000 });
  console.log(spins.version.stats().pid, idles.version.stats().pid);
  setInterval(() => {}, 1000);`;

test.if(isLinux)("no host outlives a server that is killed, spinning or not", async () => {
  await using directory = await temporaryDirectory();
  const program = join(directory.path, "server.ts");
  await Bun.write(program, serverProgram);
  const server = Bun.spawn([process.execPath, program], { stdout: "pipe", stderr: "inherit" });
  try {
    const { value } = await within(5_000, "the server", server.stdout.getReader().read());
    const pids = new TextDecoder().decode(value).trim().split(" ").map(Number);
    expect(pids.length).toBe(2);
    expect(pids.every(isAlive)).toBe(true);
    server.kill("SIGKILL");
    for (const pid of pids) await gone(pid, "a host", 2_000);
  } finally {
    server.kill("SIGKILL");
  }
});

test.if(isLinux)(
  "a host does not push others off the processor, and goes first when memory is short",
  async () => {
    await using m = await load("export const execute = () => 'x';");
    const pid = m.version.stats().pid as number;
    // Field 41 is the policy; 3 is SCHED_BATCH.
    expect(statOf(pid)(41)).toBe("3");
    expect(readFileSync(`/proc/${pid}/oom_score_adj`, "latin1").trim()).toBe("500");
  },
);

test("a host sees a few basic variables and those passed by name", async () => {
  process.env.VERIPY_TEST_SECRET = "secret";
  process.env.VERIPY_TEST_PASSED = "passed";
  try {
    const code = "export const execute = () => JSON.stringify(process.env);";
    await using m = await load(code, { hosts: { moduleEnv: ["VERIPY_TEST_PASSED", "VERIPY_TEST_UNSET"] } });
    const seen = JSON.parse(await m.result()) as Record<string, string>;
    expect(seen.VERIPY_TEST_PASSED).toBe("passed");
    expect(seen.PATH).toBe(process.env.PATH as string);
    const allowed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "VERIPY_TEST_PASSED"];
    expect(Object.keys(seen).filter((name) => !allowed.includes(name))).toEqual([]);
  } finally {
    delete process.env.VERIPY_TEST_SECRET;
    delete process.env.VERIPY_TEST_PASSED;
  }
});

// The other user must be able to read the checkout, which it is not in every root's home.
test.if(isLinux && isRoot && isReadableByAll())(
  "a host runs as the user that it is given, without other groups",
  async () => {
    await using m = await load(
      `import { readFileSync } from "node:fs";
     export const execute = () => readFileSync("/proc/self/status", "utf8");`,
      { hosts: { user: { uid: 65534, gid: 65534 } } },
    );
    const status = await m.result();
    expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
    expect(status).toMatch(/^Gid:\t65534\t65534\t65534\t65534$/m);
    expect(status).toMatch(/^Groups:\s*$/m);
  },
);

test("a host that cannot be started as configured is a load error that says why", async () => {
  const code = "export const execute = () => '';";
  if (isLinux) {
    const loading = load(code, { hosts: { cgroup: "/sys/fs/cgroup/there-is-none" } });
    expect(loading).rejects.toMatchObject({
      code: "bad_module",
      message: expect.stringContaining("Cannot start a module host"),
    });
    await loading.catch(() => {});
  }
  const loading = load(code, { hosts: { command: ["/nowhere/veripy-server"] } });
  expect(loading).rejects.toMatchObject({
    code: "bad_module",
    message: expect.stringContaining("Cannot start a module host"),
  });
  await loading.catch(() => {});
});

test("a program that is not a module host is given up after loadMs", async () => {
  const loading = load("export const execute = () => '';", {
    hosts: { command: ["sh", "-c", "sleep 60"] },
    limits: { loadMs: 150 },
  });
  expect(loading).rejects.toThrow(/it did not load within 150 ms/);
  await loading.catch(() => {});
});

test.if(isLinux && isRoot && existsSync("/sys/fs/cgroup/cgroup.controllers"))(
  "a host is in its cgroup from the start",
  async () => {
    const cgroup = `/sys/fs/cgroup/veripy-test-${process.pid}`;
    const made = Bun.spawnSync(["mkdir", cgroup]).exitCode === 0;
    if (!made) return;
    try {
      await using m = await load(
        `import { readFileSync } from "node:fs"; export const execute = () => readFileSync("/proc/self/cgroup", "utf8");`,
        { hosts: { cgroup } },
      );
      expect(await m.result()).toContain(`veripy-test-${process.pid}`);
    } finally {
      await rm(cgroup, { recursive: true }).catch(() => Bun.spawnSync(["rmdir", cgroup]));
    }
  },
);

test.if(isLinux)("programs that a module starts do not inherit the control channel", async () => {
  await using m = await load(
    `export const permissions = "all";
     export const execute = () => Bun.spawnSync(["ls", "/proc/self/fd"]).stdout.toString();`,
  );
  // 3 is the directory that ls reads.
  expect((await m.result()).trim().split("\n")).toEqual(["0", "1", "2", "3"]);
});

test("over pipes, where no socket can be inherited, everything works the same", async () => {
  const options = { hosts: { transport: "pipes" as const } };
  await using m = await load(
    `export const description = "piped";
     export const execute = (args: string): any => {
       console.log("text", { a: 1 }); console.table([1]); process.stdout.write("raw\\n");
       if (args === "spin") for (;;);
       if (args === "exit") process.exit(3);
       if (args === "stream") return (async function* () { for (let i = 0; i < 100; i++) yield "x".repeat(10_000); })();
       return args;
     };`,
    options,
  );
  expect(m.version.desc).toBe("piped");
  expect(await m.result("a")).toBe("a");
  const large = "ü".repeat(300_000);
  expect(await m.result(large)).toBe(large);
  const many = await Promise.all(Array.from({ length: 300 }, (_, i) => m.result(String(i))));
  expect(many).toEqual(Array.from({ length: 300 }, (_, i) => String(i)));
  const stream = m.begin("stream");
  expect((await stream.ended).ok).toBe(true);
  expect(stream.parts.length).toBe(100);
  expect(await m.failure("exit")).toContain("its process exited with code 3");
  expect(await m.failure("spin", { timeoutMs: 100 })).toStartWith("timeout");
  expect(await m.result("b")).toBe("b");
  const { pid = 0 } = m.version.stats();
  await within(3_000, "the stop", m.version.stop());
  expect(isAlive(pid)).toBe(false);
});

test.if(isLinux)("a hundred starts leave no descriptor and no process behind", async () => {
  const count = () => readdirSync("/proc/self/fd").length;
  const children = () =>
    readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ").filter(Boolean).length;
  await using _warm = await load("export const execute = () => '';");
  const before = [count(), children()];
  for (let round = 0; round < 10; round++) {
    const versions = await Promise.all(
      Array.from({ length: 10 }, (_, i) => load(`export const execute = () => "${round}${i}";`)),
    );
    await Promise.all(versions.map((m) => m.result()));
    await Promise.all(versions.map((m) => m[Symbol.asyncDispose]()));
  }
  await eventually("what was opened to be closed", () => count() === before[0] && children() === before[1]);
});
