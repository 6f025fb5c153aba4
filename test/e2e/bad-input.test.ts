import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmod, mkdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeCertificate } from "../../src/identity/certificate.ts";
import { trustText } from "../helpers/keys.ts";
import type { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { jsonLines } from "../helpers/tools.ts";

setDefaultTimeout(20_000);

describe("a server that cannot start says why and what to do, and exits with 2:", () => {
  let site: Site;
  beforeAll(async () => {
    site = await Site.create();
  });
  afterAll(() => site[Symbol.asyncDispose]());

  /** The standard error of a start that must fail. */
  async function refusal(...flags: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await site.manage(["--port", "0", ...flags]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    return stderr;
  }
  const trusted = () => join(site.path, "trusted-keys.json");

  test.each([
    [["--nonsense"], "--nonsense"],
    [["dance"], "dance"],
    [["--port", "65536"], "whole number from 0 to 65535"],
    [["--port", "-1"], "whole number from 0 to 65535"],
    [["--port", "8443x"], "whole number from 0 to 65535"],
    [["--log-level", "loud"], "warning"],
    [["--exec-timeout", "long"], "30s"],
    [["--max-file", "-5"], "1MiB"],
    [["--interface", "192.0.2.1"], "this machine has no such address"],
  ])("%p", async (flags, help) => {
    expect(await refusal(...flags)).toContain(help);
  });

  test("--mods is a file", async () => {
    const file = join(site.path, "trusted-keys.json");
    expect(await refusal("--mods", file)).toContain(`${file}: it is a file, not a folder`);
  });

  test("the port is in use", async () => {
    const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const said = await refusal("--port", String(other.port));
    other.stop(true);
    expect(said).toContain(`127.0.0.1:${other.port}`);
    expect(said).toContain("in use");
    expect(said).toContain("--port");
  });

  test("another server uses the port", async () => {
    await using first = await site.start();
    const said = await refusal("--port", String(site.port));
    expect(said).toContain("in use");
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    first.process.kill("SIGTERM");
    expect(await first.ended()).toBe(0);
  });

  test.each([
    ["nothing at all", "", "line 1, column 1"],
    ["half a list", '{"trusted_fingerprints": [\n  "', "line 2, column 3"],
    ["a comma too many", `{"trusted_fingerprints": [\n  "${"ab".repeat(32)}",\n]}`, "line 3, column 1"],
    ["a bare array", `["${"ab".repeat(32)}"]`, '{"trusted_fingerprints": ["3f0c…"]}'],
    ["an empty object", "{}", "trusted_fingerprints: the key is missing"],
    ["another key", '{"trusted_fingerprints": [], "comment": ""}', 'unknown key "comment"'],
    ["a number", '{"trusted_fingerprints": [7]}', "trusted_fingerprints[0]"],
    [
      "a short fingerprint",
      trustText("abc"),
      "trusted_fingerprints[0]: Cannot read 'abc' as a fingerprint: it must be 64 hexadecimal digits",
    ],
    ["an unknown field", trustText({ fingerprint: "ab".repeat(32), nane: "x" }), "nane"],
    [
      "a key twice in one entry",
      `{"trusted_fingerprints": [{"fingerprint":"${"ab".repeat(32)}","name":"x","name":"y"}]}`,
      'duplicate key "name"',
    ],
    [
      "a fingerprint twice",
      trustText("ab".repeat(32), "AB".repeat(32)),
      "is already in trusted_fingerprints[0]",
    ],
  ])("a trust file with %s", async (_, text, place) => {
    const good = await Bun.file(trusted()).text();
    await writeFile(trusted(), text);
    const said = await refusal();
    await writeFile(trusted(), good);
    expect(said).toContain("trusted-keys.json");
    expect(said).toContain(place);
  });

  test("the trust file is missing, or is a folder", async () => {
    const missing = await refusal("--trusted-keys", "nobody.json");
    expect(missing).toContain("nobody.json");
    expect(missing).toContain("veripy-server init");
    expect(await refusal("--trusted-keys", "mods")).toContain("not a regular file");
  });

  test("others can read the key, and the message gives the command that fixes it", async () => {
    const key = join(site.certs, "server.key");
    await chmod(key, 0o644);
    const said = await refusal();
    expect(said).toContain("(mode 644)");
    const [, command = ""] = /: (chmod .*)$/m.exec(said) ?? [];
    expect(command).toBe("chmod 600 certs/server.key");
    Bun.spawnSync(["sh", "-c", command], { cwd: site.path });
    await using mended = await site.start(["--port", "0"]);
    await mended.line("Listening");
  });

  test("a client refuses a key that others can read, and gives the command that fixes it", async () => {
    const { certs } = await site.newClient("careless");
    await chmod(join(certs, "client.key"), 0o640);
    const { exitCode, stderr } = await site.call(["--certs", certs, "list"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`chmod 600 ${certs}/client.key`);
  });

  test("its certificate has expired, and the message gives the command that renews it", async () => {
    const before = (await site.manage(["fingerprint"])).stdout;
    await expire(site.certs, "server");
    const said = await refusal();
    expect(said).toContain("certs/server.crt");
    expect(said).toContain("expired");
    expect(said).toContain("veripy-server renew");
    expect((await site.manage(["renew"])).exitCode).toBe(0);
    expect((await site.manage(["fingerprint"])).stdout).toBe(before);
    await using server = await site.start(["--port", "0"]);
    await server.line("Listening");
  });

  test("the key does not match the certificate, or one of them is missing", async () => {
    await using other = await Site.create();
    await Bun.write(join(site.path, "mixed/server.crt"), Bun.file(join(other.certs, "server.crt")));
    const alone = await refusal("--certs", "mixed");
    expect(alone).toContain("mixed/server.key is missing");
    await Bun.write(join(site.path, "mixed/server.key"), Bun.file(join(site.certs, "server.key")));
    await chmod(join(site.path, "mixed/server.key"), 0o600);
    expect(await refusal("--certs", "mixed")).toContain("do not match");
    await writeFile(join(site.path, "mixed/server.key"), "not a key\n");
    expect(await refusal("--certs", "mixed")).toContain("Cannot use the key mixed/server.key");
  });
});

test("the other side's certificate may have expired; only its key matters", async () => {
  await using site = await Site.create();
  await site.start();
  // Both the copy that the client pins and the client's own certificate have expired; their keys are unchanged.
  const { certs } = await site.newClient("pinned");
  await expire(site.certs, "server");
  await Bun.write(join(certs, "server.crt"), Bun.file(join(site.certs, "server.crt")));
  const { fingerprint } =
    jsonLines((await site.call(["--certs", certs, "fingerprint", "--json"])).stdout)[0] ?? {};
  await site.manage(["trust", String(fingerprint)]);
  const listed = await site.call(["--certs", certs, "list"]);
  expect(listed).toMatchObject({ exitCode: 0, stderr: "" });

  await expire(certs, "client");
  const own = await site.call(["--certs", certs, "list"]);
  expect(own.exitCode).toBe(2);
  expect(own.stderr).toContain("veripy-client renew");
});

/** Replaces the certificate in a folder with an expired one for the same key. */
async function expire(certs: string, role: "server" | "client"): Promise<void> {
  const keyPem = await Bun.file(join(certs, `${role}.key`)).text();
  const certificate = await makeCertificate({ commonName: `veripy ${role}`, keyPem, days: -2 });
  await writeFile(join(certs, `${role}.crt`), certificate);
}

describe("a module that cannot be loaded is reported with the reason, and nothing else is affected:", () => {
  let site: Site;
  let server: Running;
  let watching: Running;

  beforeAll(async () => {
    site = await Site.create();
    server = await site.start(["--max-file", "64KiB", "--max-tree", "96KiB"]);
    watching = site.watch(["--json"]);
    await watching.line('"verified":true');
  });
  afterAll(() => site[Symbol.asyncDispose]());

  const inMods = (name: string) => join(site.path, "mods", name);
  const good = "export const execute = async () => 'good';\n";

  const faults: Array<{
    fault: string;
    mod: string;
    make: (path: string) => Promise<unknown>;
    says: string[];
    /** What only the server's log says. */
    logs?: string[];
  }> = [
    {
      fault: "it is a directory",
      mod: "directory.ts",
      make: (path) => mkdir(path),
      says: ["directory.ts: it is a directory"],
    },
    {
      fault: "it is empty",
      mod: "empty.ts",
      make: (path) => writeFile(path, ""),
      says: ["empty.ts: it is empty"],
    },
    {
      fault: "it is not UTF-8",
      mod: "latin1.ts",
      make: (path) => writeFile(path, Buffer.from(`${good}// caf\xe9\n`, "latin1")),
      says: ["latin1.ts: it is not valid UTF-8", "save it as UTF-8"],
    },
    {
      fault: "it is larger than the limit",
      mod: "large.ts",
      make: (path) => writeFile(path, good).then(() => truncate(path, 64 * 1024 + 1)),
      says: ["large.ts: it has more than 65536 bytes"],
    },
    {
      fault: "its tree is larger than the limit",
      mod: "tree.ts",
      make: async (path) => {
        const text = `export const text = "${"x".repeat(40_000)}";\n`;
        await Promise.all(["a", "b", "c"].map((name) => site.write(`lib/${name}.ts`, `${text}// ${name}`)));
        return writeFile(path, `import "./lib/a.ts"; import "./lib/b.ts"; import "./lib/c.ts";\n${good}`);
      },
      says: ["lib/c.ts: the module's files together have more than 98304 bytes"],
    },
    {
      fault: "it is a FIFO",
      mod: "fifo.ts",
      make: async (path) => Bun.spawnSync(["mkfifo", path]),
      says: ["fifo.ts: it is not a regular file"],
    },
    {
      fault: "it is a link out of mods/",
      mod: "outside.ts",
      make: (path) => symlink("/etc/hostname", path),
      says: ["outside.ts: it is a symbolic link that leads out of mods/"],
      logs: ["/etc/hostname"],
    },
    {
      fault: "it is a dangling link",
      mod: "dangling.ts",
      make: (path) => symlink("nowhere.ts", path),
      says: ["dangling.ts: it is a dangling symbolic link"],
    },
    {
      fault: "it is a circle of links",
      mod: "circle.ts",
      make: (path) => symlink("circle.ts", path),
      says: ["circle.ts: it cannot be read: its symbolic links form a loop"],
    },
    {
      fault: "it has a syntax error",
      mod: "syntax.ts",
      make: (path) => writeFile(path, `${good}\nconst = 7;\n`),
      says: ["syntax.ts:3:"],
    },
    {
      fault: "it does not export execute",
      mod: "lacking.ts",
      make: (path) => writeFile(path, "export function run() {}\n"),
      says: ["lacking.ts exports no function 'execute'. It exports run.", "export async function execute"],
    },
    {
      fault: "its execute is not a function",
      mod: "constant.ts",
      make: (path) => writeFile(path, "export const execute = 7;\n"),
      says: ["constant.ts:1:14: 'execute' must be a function"],
    },
    {
      fault: "its description is not a string",
      mod: "described.ts",
      make: (path) => writeFile(path, `export const description = ["x"];\n${good}`),
      says: ["described.ts:1:28: 'description' must be a string"],
    },
    {
      fault: "it imports a package",
      mod: "package.ts",
      make: (path) => writeFile(path, `import "left-pad";\n${good}`),
      says: ["package.ts: cannot import 'left-pad'", "below mods/"],
    },
    {
      fault: "it imports a file outside mods/",
      mod: "escaping.ts",
      make: (path) => writeFile(path, `import "../trusted-keys.json";\n${good}`),
      says: ["escaping.ts: cannot import '../trusted-keys.json': it is outside mods/"],
    },
    {
      fault: "it imports a file that does not exist",
      mod: "missing.ts",
      make: (path) => writeFile(path, `import "./lib/none.ts";\n${good}`),
      says: ["missing.ts: cannot import './lib/none.ts': there is no such file"],
    },
    {
      fault: "it throws while being loaded",
      mod: "throwing.ts",
      make: (path) => writeFile(path, `throw new Error("not today");\n${good}`),
      says: ["throwing.ts", "not today"],
    },
  ];

  test.each(faults)("$fault", async ({ mod, make, says, logs = [] }) => {
    await make(inMods(mod));
    const [event] = jsonLines(await watching.line(`"event":"moderror","mod":"${mod}"`));
    const logged = await server.line((line) => line.includes('"level":"error"') && line.includes(`"${mod}"`));
    for (const words of says) {
      expect(event?.error).toContain(words);
      expect(JSON.parse(logged).message).toContain(words);
    }
    for (const words of logs) expect(JSON.parse(logged).message).toContain(words);
    for (const words of [...logs, site.path]) expect(event?.error).not.toContain(words);
    expect((await site.call(["exec", "hello"])).stdout).toBe("Hello, World!\n");
    expect((await site.call(["list"])).stdout).not.toContain(mod);
  });

  test("it is loaded once the fault is fixed", async () => {
    await rm(inMods("directory.ts"), { recursive: true });
    await writeFile(inMods("directory.ts"), good);
    await watching.line(/"cause":"modload","verified":true,"mod":"directory.ts"/);
    await truncate(inMods("large.ts"), Buffer.byteLength(good));
    await watching.line(/"cause":"modload","verified":true,"mod":"large.ts"/);
    expect((await site.call(["exec", "large"])).stdout).toBe("good\n");
  });

  test.skipIf(process.getuid?.() === 0)("unreadable (not to be seen by root)", async () => {
    await writeFile(inMods("secret.ts"), good, { mode: 0o000 });
    const [event] = jsonLines(await watching.line('"event":"moderror","mod":"secret.ts"'));
    expect(event?.error).toContain("secret.ts: it cannot be read");
  });

  test("no connection broke, and no internal error was logged", () => {
    expect(watching.stdout.join("\n")).not.toContain("disconnected");
    expect(server.stderr.filter((line) => line.includes('"level":"fatal"'))).toEqual([]);
    expect(server.process.exitCode).toBeNull();
  });
});
