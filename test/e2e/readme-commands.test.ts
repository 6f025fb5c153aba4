import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { binaries } from "../helpers/binaries.ts";
import { Running, run } from "../helpers/processes.ts";
import { blocksOf, readmeCommands } from "../helpers/readme.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";

setDefaultTimeout(60_000);

interface Step {
  /** How the command begins. */
  readonly command: string;
  readonly on: "server" | "client";
  readonly prints: RegExp;
  /** What the server's log then says. */
  readonly log?: RegExp;
}

/** What every command of README.md's shell blocks does, in their order. One that is missing here fails the test. */
const steps: readonly Step[] = [
  { command: "veripy-server init", on: "server", prints: /^created mods\/hello\.ts$/m },
  { command: "veripy-server", on: "server", prints: /Listening on / },
  { command: "veripy-client verify", on: "server", prints: /^verified\s+hello\.ts/ },
  { command: "veripy-client exec hello World", on: "server", prints: /^Hello, World!\n$/ },
  { command: "echo ", on: "server", prints: /^$/, log: /modload: shout\.ts/ },
  { command: "veripy-client exec shout hello", on: "server", prints: /^HELLO\n$/ },
  { command: "veripy-server -i 0.0.0.0", on: "server", prints: /Listening on / },
  { command: "veripy-server invite --name alice", on: "server", prints: /^[0-9A-Z]{4}(-[0-9A-Z]{4}){4}$/m },
  { command: "veripy-client join", on: "client", prints: /[0-9a-f]{64}/, log: /Joined: alice/ },
  { command: "veripy-client -H", on: "client", prints: /^Hello, World!\n$/ },
  { command: "veripy-server check", on: "server", prints: /^ok\s+hello\.ts.*^ok\s+shout\.ts/ms },
  { command: "veripy-server types > veripy.d.ts", on: "server", prints: /^$/ },
  { command: "veripy-client fingerprint", on: "client", prints: /^[0-9a-f]{64}\n$/ },
  { command: "veripy-server trust", on: "server", prints: /3f0c4b29/ },
  { command: "veripy-server keys", on: "server", prints: /alice.*bob/s },
  { command: "veripy-server untrust bob", on: "server", prints: /^bob / },
];

test("every command of README.md, typed in an empty folder, does what it says", async () => {
  const commands = await readmeCommands();
  expect(
    commands.map((command, index) => [command.startsWith(steps[index]?.command ?? "…"), command]),
  ).toEqual(commands.map((command) => [true, command]));
  expect(commands).toHaveLength(steps.length);

  await using folder = await temporaryDirectory();
  const cwd = { server: join(folder.path, "server"), client: join(folder.path, "client") };
  await Promise.all(Object.values(cwd).map((path) => mkdir(path)));
  const env = await environment();
  let server: Running | undefined;
  let code = "";
  try {
    for (const [index, { on, prints, log }] of steps.entries()) {
      // The address and the code are the reader's to fill in; 0.0.0.0 would let strangers in.
      const line = (commands[index] ?? "")
        .replace("0.0.0.0", "127.0.0.1")
        .replace("server.example", "127.0.0.1")
        .replace(/(join \S+) \S+/, `$1 ${code}`);
      if (/^veripy-server( -i .*)?$/.test(line)) {
        server?.process.kill("SIGTERM");
        await server?.ended();
        server = new Running(["sh", "-c", `exec ${line}`], { cwd: cwd[on], env });
        await server.line(prints);
        continue;
      }
      const { exitCode, stdout, stderr } = await run(["sh", "-c", line], { cwd: cwd[on], env });
      expect({ line, exitCode, stdout, stderr }).toEqual({
        line,
        exitCode: 0,
        stdout: expect.stringMatching(prints),
        stderr: expect.any(String),
      });
      if (line.includes(" invite ")) code = /^\S+$/m.exec(stdout)?.[0] ?? "";
      if (log !== undefined) await server?.line(log);
    }
  } finally {
    await server?.[Symbol.asyncDispose]();
  }
  expect(existsSync(join(cwd.server, "veripy.d.ts"))).toBe(true);
});

test.skipIf(Bun.which("openssl") === null || Bun.which("sha256sum") === null)(
  "the example of docs/protocol.md gives the sums that it says, by openssl and sha256sum",
  async () => {
    await using folder = await temporaryDirectory();
    const env = await environment();
    const options = { cwd: folder.path, env };
    expect((await run(["veripy-server", "init"], options)).exitCode).toBe(0);
    await using server = new Running(["veripy-server"], options);
    await server.line(/Listening on /);
    const [requests = "", sums = ""] = await blocksOf("docs/protocol.md", "sh");
    const answers = (await run(["sh", "-c", requests.replace("8443", env.VERIPY_PORT)], options)).stdout;
    expect(answers).toMatch(
      /^mod:sync_resp:1 .*\n(mod:verify_resp:2 .*\nmod:exec_resp:3 |mod:exec_resp:3 .*\nmod:verify_resp:2 )/,
    );
    const { sum, tree, result } = JSON.parse(/^mod:exec_resp:3 (.*)$/m.exec(answers)?.[1] ?? "{}");
    expect(result).toBe("Hello, World!");
    const computed = (await run(["sh", "-c", sums], options)).stdout.match(/^[0-9a-f]{64}/gm);
    const fingerprint = (await run(["veripy-server", "fingerprint"], options)).stdout.trim();
    expect(computed).toEqual([sum, tree, fingerprint]);
    const [, shown = ""] = await blocksOf("docs/protocol.md", "\\w*");
    for (const text of [sum, tree]) expect(shown).toContain(text.slice(0, 8));
  },
);

/** The executables in PATH, and a port that is free, by its variable. */
async function environment(): Promise<Record<string, string> & { VERIPY_PORT: string }> {
  const { server } = await binaries();
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const VERIPY_PORT = String(probe.port);
  probe.stop(true);
  return { PATH: `${dirname(server)}:${process.env.PATH}`, HOME: process.env.HOME ?? "/", VERIPY_PORT };
}
