import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Running } from "../helpers/processes.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(20_000);

const modules = {
  "slow.ts": `export async function* execute() { yield "begun\\n"; await Bun.sleep(30_000); }\n`,
};

let site: Site;
/** Accepts connections and sends nothing. */
let silent: Bun.TCPSocketListener<undefined>;
let connections = 0;

beforeAll(async () => {
  site = await Site.create(modules);
  await site.start();
  silent = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data() {}, open: () => void connections++ },
  });
});
afterAll(async () => {
  silent.stop(true);
  await site[Symbol.asyncDispose]();
});

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s ends a client without a word, with %p:", (signal, code) => {
  test.each([
    [["list"]],
    [["verify", "hello"]],
    [["exec", "hello"]],
    [["modules"]],
    [["watch"]],
    [["watch", "--json"]],
    [["list", "--json"]],
    [["join", "127.0.0.1", "K3F9-7QXM-2R8T-D5VA-0WJC"]],
    [["rotate", "--host", "127.0.0.1"]],
  ])("%p while it connects", async (args) => {
    const before = connections;
    const command = [site.client, "--port", String(silent.port), ...args];
    await using client = new Running(command, { cwd: site.path });
    await eventually("a connection", () => connections > before);
    client.process.kill(signal);
    expect(await client.ended()).toBe(code);
    // It exited by itself, with the number that a shell reports for a program that the signal killed.
    expect(client.process.signalCode).toBeNull();
    expect({ stdout: client.stdout, stderr: client.stderr }).toEqual({ stdout: [], stderr: [] });
  });

  test("exec while the module runs", async () => {
    const client = site.watch(["exec", "slow"]);
    await client.line("begun");
    client.process.kill(signal);
    expect(await client.ended()).toBe(code);
    expect(client.stderr).toEqual([]);
  });

  test("exec --stdin while it reads standard input", async () => {
    await using client = new Running([site.client, "exec", "--stdin", "hello"], {
      cwd: site.path,
      stdin: "pipe",
    });
    // There is no sign that it has begun to wait, but the signal must have the same effect at any time before that.
    client.process.kill(signal);
    expect(await client.ended()).toBe(code);
    expect(client.stderr).toEqual([]);
  });
});

test("watch ends silently on Ctrl-C with 130, and on SIGTERM with 143", async () => {
  const client = site.watch([]);
  await client.line(/^verified {2}slow\.ts/);
  const said = client.stderr.length;
  client.process.kill("SIGINT");
  expect(await client.ended()).toBe(130);
  expect(client.stderr).toHaveLength(said);
  const json = site.watch(["--json"]);
  await json.line(/"mod":"slow\.ts"/);
  json.process.kill("SIGINT");
  expect(await json.ended()).toBe(130);
  expect(json.stderr).toEqual([]);
  for (const line of json.stdout) JSON.parse(line);
  const other = site.watch([]);
  await other.line(/^verified {2}slow\.ts/);
  other.process.kill("SIGTERM");
  expect(await other.ended()).toBe(143);
});

describe.skipIf(process.platform === "win32")("on a terminal", () => {
  async function atPrompt(name: string): Promise<Terminal> {
    const { certs } = await site.newClient(name);
    await rm(join(certs, "server.crt"));
    const client = new Terminal(
      [site.client, "--port", String(site.port), "--certs", certs, "list"],
      site.path,
    );
    await client.shows(/Type yes to trust it: /);
    return client;
  }

  test("Ctrl-C at the question about a server's key ends the client with 130 and no further output", async () => {
    await using client = await atPrompt("interrupted");
    const shown = client.output;
    client.type("\u0003");
    expect(await client.ended()).toBe(130);
    expect(added(client.output, shown)).toBe("");
  });

  test("the end of input at the question about a server's key means no", async () => {
    await using client = await atPrompt("ended");
    client.type("\u0004");
    expect(await client.ended()).toBe(3);
    expect(client.output).toContain("Nothing says which key");
  });

  test("Ctrl-C while a module runs ends the client with 130 and no further output", async () => {
    await using client = new Terminal([site.client, "--port", String(site.port), "exec", "slow"], site.path);
    await client.shows(/begun/);
    client.type("\u0003");
    expect(await client.ended()).toBe(130);
    expect(client.output.replaceAll(/\^C|\s/g, "")).toBe("begun");
  });
});

/** What was shown after that, without the terminal's echo of Ctrl-C. */
function added(output: string, before: string): string {
  expect(output).toStartWith(before);
  return output.slice(before.length).replaceAll(/\^C|\s|\x1b\[[0-9;?]*[a-zA-Z]/g, "");
}
