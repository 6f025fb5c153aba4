import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Running, run } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

let site: Site;

beforeAll(async () => {
  site = await Site.create({
    "stream.ts": `export async function* execute() { for (let n = 0; ; n++) yield n + "\\n"; }\n`,
  });
  await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

/** Runs a command with its streams redirected by a shell. */
const shell = (redirected: string, command: string[]) =>
  run(["bash", "-o", "pipefail", "-c", `"$@" ${redirected}`, "bash", ...command], { cwd: site.path });

const client = (args: string[]) => [site.client, "--port", String(site.port), ...args];
const failure = "error: Cannot write to standard output: the disk is full.\n";

describe.skipIf(process.platform !== "linux")(
  "a full disk is reported in one line, with exit code 1, by",
  () => {
    test.each([
      [["list"]],
      [["list", "--json"]],
      [["verify"]],
      [["modules"]],
      [["exec", "hello"]],
      [["exec", "--raw", "hello"]],
      [["exec", "-o", "-", "hello"]],
      [["exec", "-o", "/dev/stdout", "hello"]],
      [["exec", "--json", "hello"]],
      // An endless stream.
      [["exec", "stream"]],
      [["exec", "-o", "/dev/stdout", "stream"]],
      [["watch"]],
      [["fingerprint"]],
      [["--help"]],
      [["list", "--help"]],
      [["--version"]],
    ])("veripy-client %p", async (args) => {
      const { exitCode, stderr } = await shell("> /dev/full", client(args));
      const said = stderr.replaceAll(/^(Connected to|consistent, not approved:) .*\n/gm, "");
      expect({ exitCode, said: said.replace("/dev/stdout", "standard output") }).toEqual({
        exitCode: 1,
        said: failure,
      });
    });

    test.each([
      [["fingerprint"]],
      [["fingerprint", "--json"]],
      [["check"]],
      [["unit", "--user", "root"]],
      [["init"]],
      [["invite"]],
      [["--help"]],
      [["start", "--help"]],
      [["--version"]],
    ])("veripy-server %p", async (args) => {
      const { exitCode, stderr } = await shell("> /dev/full", [site.server, ...args]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: failure });
    });

    test("the exit code alone, if standard error cannot be written either", async () => {
      const commands = [
        client(["list", "--nonsense"]),
        client(["exec", "nothing"]),
        [site.server, "nonsense"],
        client(["--help", "--nonsense"]),
      ];
      for (const command of commands) {
        const { exitCode } = await shell("> /dev/full 2> /dev/full", command);
        expect({ command, exitCode }).toEqual({ command, exitCode: 1 });
      }
      const { exitCode, stdout } = await shell("2> /dev/full", client(["list", "--nonsense"]));
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    });
  },
);

describe.skipIf(process.platform !== "linux")("a full disk", () => {
  test("does not matter to a command that writes nothing to it", async () => {
    const { exitCode, stdout } = await shell("2> /dev/full", client(["exec", "hello"]));
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "Hello, World!\n" });
  });

  test("does not stop a server that cannot write its log", async () => {
    await using other = await Site.create();
    // A port chosen here, because the log that would name the port cannot be read.
    const reserved = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const port = String(reserved.port);
    reserved.stop(true);
    await using server = new Running(
      ["sh", "-c", 'exec "$@" 2> /dev/full', "sh", other.server, "--port", port],
      { cwd: other.path },
    );
    const says = (text: string) =>
      eventually(text, async () => (await other.call(["--port", port, "exec", "hello"])).stdout === text);
    await says("Hello, World!\n");
    await other.write("hello.ts", "export const execute = () => 'changed';\n");
    await says("changed\n");
    server.process.kill("SIGTERM");
    expect(await server.ended()).toBe(0);
  });
});

describe.skipIf(process.platform === "win32")("a command ends silently when its reader stops reading", () => {
  test.each([[["list"]], [["exec", "stream"]], [["exec", "-o", "-", "stream"]], [["--help"]]])(
    "%p",
    async (args) => {
      const { stderr, exitCode } = await shell("| head -c 1 | wc -c", client(args));
      expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    },
  );

  test("the pipe that is its --output file", async () => {
    const command = client(["exec", "-o", "/dev/fd/9", "stream"]);
    expect(await shell("9> >(head -c 1 > /dev/null)", command)).toMatchObject({ stderr: "", exitCode: 0 });
  });

  test("its standard error", async () => {
    const { exitCode } = await shell("2> >(exec true)", client(["exec", "hello"]));
    expect(exitCode).toBe(0);
  });
});
