import { describe, expect, test } from "bun:test";
import { existsSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { withDefaultLimits } from "../../../src/base/limits.ts";
import { HostProcess } from "../../../src/host/parent/process.ts";
import { sandboxSupport } from "../../../src/host/parent/sandbox-support.ts";
import { temporaryFoldersRemoved } from "../../../src/host/parent/temporary-folder.ts";
import { fileRights } from "../../../src/host/sandbox-rules.ts";
import { loadVersion } from "../../../src/modules/hosted-version.ts";
import { FrameDecoder } from "../../../src/protocol/frame.ts";
import { temporaryDirectory } from "../../helpers/temporary.ts";
import { gone, load, sourceOf } from "../../helpers/versions.ts";
import { within } from "../../helpers/within.ts";

const { enforced } = sandboxSupport();
const everything = Object.values(enforced).every(Boolean);

/** Runs the JavaScript expression that it is given. */
const obeys = (permissions: unknown) => `
  import * as fs from "node:fs"; import * as net from "node:net";
  export const permissions = ${JSON.stringify(permissions)};
  export async function execute(args: string) {
    const outcome = await new Function("fs", "net", "return (async () => (" + args + "))()")(fs, net);
    return String(outcome);
  }`;

const connects = (port: number) =>
  `new Promise((done) => net.connect(${port}, "127.0.0.1").on("connect", function () { this.destroy(); done("connected"); }).on("error", (error) => done(error.code)))`;
const listens = (port: number) =>
  `new Promise((done) => net.createServer().listen(${port}, "127.0.0.1", function () { this.close(); done("listens"); }).on("error", (error) => done(error.code ?? error.message)))`;

// Skipped where the kernel lacks Landlock's ABI 6 or seccomp filters.
describe.skipIf(!everything)("a module from the sources", () => {
  test("without permissions has its temporary folder, and nothing else", async () => {
    await using directory = await temporaryDirectory();
    await Bun.write(join(directory.path, "secret"), "secret");
    await using m = await load(obeys({}));
    const own = await m.result("process.env.TMPDIR");
    expect(
      await m.result("fs.writeFileSync(process.env.TMPDIR + '/a', 'b'), fs.readdirSync(process.env.TMPDIR)"),
    ).toBe("a");
    expect(await m.result("process.cwd()")).toBe(realpathSync(own));
    // Bun's shell opens the working directory first.
    expect(await m.result("Bun.$`echo text`.text()")).toBe("text\n");
    expect(await m.result("process.env.VERIPY_HOST_SANDBOX")).toBe("undefined");
    for (const attempt of [
      `fs.readFileSync(${JSON.stringify(join(directory.path, "secret"))})`,
      `fs.writeFileSync(${JSON.stringify(join(directory.path, "made"))}, "")`,
      `fs.readFileSync("/proc/${process.pid}/environ")`,
      `fs.chmodSync(process.env.TMPDIR, 0o777)`,
      `Bun.spawnSync(["ls"])`,
      `process.kill(${process.pid}, 0)`,
    ])
      expect([attempt, await m.failure(attempt)]).toEqual([
        attempt,
        expect.stringContaining("m.ts may not "),
      ]);
    expect(await m.result(connects(1))).toMatch(/EACCES|EPERM/);
    expect(await m.result(listens(0))).not.toBe("listens");
    const { pid = 0 } = m.version.stats();
    await m.version.stop();
    await gone(pid, "its process");
    await temporaryFoldersRemoved();
    expect(existsSync(own)).toBe(false);
  });

  test("reads what it may read, and writes what it may write, and neither the other", async () => {
    await using directory = await temporaryDirectory();
    const [read, write] = [join(directory.path, "read"), join(directory.path, "write")];
    for (const folder of [read, write]) await Bun.write(join(folder, "file"), "text");
    await using m = await load(obeys({ read: [read], write: [write] }));
    expect(await m.result(`fs.readFileSync(${JSON.stringify(`${read}/file`)}, "utf8")`)).toBe("text");
    expect(await m.failure(`fs.writeFileSync(${JSON.stringify(`${read}/file`)}, "")`)).toContain(
      "m.ts may not ",
    );
    expect(await m.result(`fs.writeFileSync(${JSON.stringify(`${write}/new`)}, "")`)).toBe("undefined");
    expect(await m.failure(`fs.readFileSync(${JSON.stringify(`${write}/file`)}, "utf8")`)).toContain(
      "m.ts may not ",
    );
  });

  test("runs what it may run, and nothing else", async () => {
    await using m = await load(obeys({ run: ["uname"] }));
    expect(await m.result(`Bun.spawnSync(["uname"]).stdout`)).toBe("Linux\n");
    expect(await m.failure(`Bun.spawnSync(["ls"]).stdout`)).toContain("m.ts may not ");
  });

  test("connects to the ports that it names, and to no others", async () => {
    using one = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    using other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    await using m = await load(obeys({ connect: [one.port] }));
    expect(await m.result(connects(one.port))).toBe("connected");
    expect(await m.result(connects(other.port))).toBe("EACCES");
    expect(await m.result(listens(0))).toMatch(/EACCES|EPERM/);
  });

  test("listens on the ports that it names, and on no others", async () => {
    const free = () => {
      using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
      return listener.port;
    };
    const [one, other] = [free(), free()];
    await using m = await load(obeys({ listen: [one] }));
    expect(await m.result(listens(one))).toBe("listens");
    expect(await m.result(listens(other))).toMatch(/EACCES|EPERM/);
    expect(await m.result(connects(one))).toMatch(/EACCES|EPERM/);
  });

  test("over pipes is held to its permissions too", async () => {
    await using m = await load(obeys({}), { hosts: { transport: "pipes" } });
    expect(await m.failure(`fs.readFileSync("/etc/passwd")`)).toContain("m.ts may not ");
    expect(await m.result("1 + 1")).toBe("2");
  });

  test("under 'all', or with the sandbox off, is not sandboxed", async () => {
    for (const [permissions, sandbox] of [
      ["all", "enforce"],
      [{}, "off"],
    ] as const) {
      await using m = await load(obeys(permissions), { hosts: { sandbox } });
      expect(await m.result(`fs.readFileSync("/etc/passwd", "utf8").length > 0`)).toBe("true");
      expect(await m.result(`Bun.spawnSync(["uname"]).stdout`)).toBe("Linux\n");
      expect(await m.result("process.env.TMPDIR")).toBe(String(process.env.TMPDIR));
    }
  });
});

test.each([
  [
    "is not there",
    ["no-such-program"],
    /^m\.ts declares run: \["no-such-program"\], .*no such program in PATH/,
  ],
  ["is a folder", ["/usr"], /^m\.ts declares run: \["\/usr"\], .*it is not a file/],
])("a program that %s is a load error that names the module", async (_, run, message) => {
  const source = await sourceOf(obeys({ run }));
  const loading = loadVersion(source, { limits: withDefaultLimits() });
  expect(loading).rejects.toMatchObject({ code: "bad_module", message: expect.stringMatching(message) });
  await loading.catch(() => {});
});

test.skipIf(!everything)(
  "a sandbox that the kernel refuses halfway is a load failure that says so",
  async () => {
    // No kernel takes a rule for this port.
    const rules = { paths: [["/usr", fileRights.readFile]], connect: [70_000], listen: [] } as const;
    const host = await HostProcess.start({}, 1024 * 1024, () => {}, rules);
    const decoder = new FrameDecoder(64 * 1024);
    const frames: string[] = [];
    const ended = new Promise<string>((resolve) => host.onEnd(resolve));
    host.duplex.attach({
      data: (chunk) => decoder.push(chunk, ({ type, json }) => frames.push(`${type} ${json}`)),
      closed: () => host.channelClosed(),
    });
    expect(await within(5_000, "its end", ended)).toBe("its process exited with code 1");
    expect(frames).toEqual([
      `failed {"error":"The sandbox could not be set up: Landlock cannot grant port 70000: errno 22."}`,
    ]);
  },
);

test("a temporary folder that cannot be made is a load error, and starts nothing", async () => {
  const source = await sourceOf(obeys({}));
  const { TMPDIR } = process.env;
  process.env.TMPDIR = "/no/such/folder";
  try {
    const loading = loadVersion(source, { limits: withDefaultLimits() });
    expect(loading).rejects.toMatchObject({
      code: "bad_module",
      message: expect.stringMatching(/^Cannot make a temporary folder for a module host: /),
    });
    await loading.catch(() => {});
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  }
});
