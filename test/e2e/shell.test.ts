import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Running } from "../helpers/processes.ts";
import { Relay } from "../helpers/relay.ts";
import { Site } from "../helpers/site.ts";
import { Terminal } from "../helpers/terminal.ts";
import { jsonLines, sha256 } from "../helpers/tools.ts";
import { eventually } from "../helpers/within.ts";

setDefaultTimeout(30_000);

const ctrlC = "\u0003";
const ctrlD = "\u0004";
const enter = "\r";
const tab = "\t";

const deploy = `
  export const description = "Deploys";
  export const input = {
    type: "object",
    properties: { env: { enum: ["prod", "staging"] }, dry_run: { type: "boolean" } },
    required: ["env"],
  } as const;
  export const execute = (args: string) => "deployed " + args;
`;
const slow = `
  export async function* execute(_: string, { signal }: { signal: AbortSignal }) {
    yield "first part\\n";
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    console.log("the call was cancelled");
  }
`;
const echo = 'export const execute = (args: string) => "echo " + args;\n';

let site: Site;
let server: Running;
beforeAll(async () => {
  site = await Site.create({ "deploy.ts": deploy, "slow.ts": slow, "echo.ts": echo });
  server = await site.start();
});
afterAll(() => site[Symbol.asyncDispose]());

/** How many calls the module was told to give up. */
const cancelled = () =>
  [...server.stdout, ...server.stderr].filter((line) => line.includes("the call was cancelled")).length;

interface Opened {
  flags?: string[];
  port?: number;
  columns?: number;
  env?: Record<string, string>;
}

/** A shell on a terminal, which shows its prompt. */
async function open({
  flags = [],
  port = site.port,
  columns = 100,
  env = {},
}: Opened = {}): Promise<Terminal> {
  const command = [site.client, "--port", String(port), ...flags, "shell"];
  const shell = new Terminal(command, site.path, { columns, env });
  await shows(shell, /localhost> /);
  return shell;
}

/** Types a line, and waits for what it prints. */
async function type(shell: Terminal, line: string, printed: RegExp): Promise<void> {
  shell.output = "";
  shell.type(`${line}${enter}`);
  await shows(shell, printed);
}

/** Waits for a text, without what moves the cursor or colours it. */
async function shows(shell: Terminal, pattern: RegExp): Promise<void> {
  const find = () => pattern.test(plain(shell));
  await eventually(`${pattern} on the terminal`, find, 10_000).catch((error: Error) => {
    throw new Error(`${error.message} It shows: ${shell.output}`);
  });
}

/** What is shown, without what moves the cursor or colours text. */
const plain = (shell: Terminal) => Bun.stripANSI(shell.output).replaceAll("\r", "");

describe.skipIf(process.platform === "win32")("on a terminal, the shell", () => {
  test("calls modules and runs commands until Ctrl-D", async () => {
    await using shell = await open();
    await type(
      shell,
      'deploy env=prod dry_run="true"',
      /deployed {"env":"prod","dry_run":true}[\s\S]*localhost> /,
    );
    await type(shell, "echo 'a  b' c # comment", /echo a {2}b c\n/);
    await type(shell, "list", /slow\.ts .*not approved/);
    await type(shell, "describe deploy", /Usage: veripy-client exec deploy env=STRING/);
    await type(shell, "verify echo", new RegExp(`${sha256(echo)} {2}echo\\.ts`));
    await type(shell, "show echo", /"echo " \+ args/);
    await type(shell, "diff echo", /\+export const execute/);
    await type(shell, "modules", /in|restarts/);
    await type(shell, "help", /describe MODULE .*\n[\s\S]*Tab completes/);
    await type(shell, "help diff", /diff \[MODULE…\]/);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("goes on after what fails, and says what was meant", async () => {
    await using shell = await open();
    await type(shell, "deplyo", /error: There is no module 'deplyo'\. Did you mean 'deploy\.ts'\?/);
    await type(shell, "deploy env=4 x", /error: .*'x' is not an argument/);
    await type(shell, "deploy 'env", /error: The quote ' is not closed\./);
    await type(shell, "list all", /error: 'list' takes no 'all'\. Usage: list/);
    await type(shell, "describe", /error: 'describe' needs the name of a module\. Usage: describe MODULE/);
    await type(
      shell,
      "approve deploy",
      /error: 'approve' is not a command of the shell\. Type 'veripy-client approve'/,
    );
    await type(shell, "echo still here", /echo still here\n/);
    await type(shell, "exit", /exit/);
    expect(await shell.ended()).toBe(0);
  });

  test("Ctrl-C cancels the call at the server, and the shell goes on", async () => {
    await using shell = await open();
    await type(shell, "slow", /first part\n/);
    const before = cancelled();
    shell.type(ctrlC);
    await shows(shell, /Cancelled\.\n[\s\S]*localhost> /);
    await type(shell, "echo next", /echo next\n/);
    expect(plain(shell)).not.toContain("error");
    await eventually("the call to be cancelled at the server", () => cancelled() > before);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("Ctrl-C drops what is typed; at an empty prompt, it says how to leave", async () => {
    await using shell = await open();
    shell.type("echo unwanted");
    await shows(shell, /unwanted/);
    shell.type(ctrlC);
    await type(shell, "echo wanted", /\necho wanted\n[\s\S]*localhost> /);
    expect(plain(shell)).not.toContain("echo unwanted\n");
    shell.type(ctrlC);
    await shows(shell, /To leave, type exit or press Ctrl-D\.\n/);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("a real SIGINT does what Ctrl-C does", async () => {
    await using shell = await open();
    await type(shell, "slow", /first part\n/);
    shell.signal("SIGINT");
    await shows(shell, /Cancelled\./);
    shell.signal("SIGTERM");
    expect(await shell.ended()).toBe(143);
  });

  test("TAB completes commands, modules and arguments", async () => {
    await using shell = await open();
    shell.type("dep");
    shell.type(tab);
    await shows(shell, /deploy /);
    shell.type("e");
    await shows(shell, /deploy .*e$/);
    shell.type(tab);
    await shows(shell, /nv=/);
    shell.type("s");
    await shows(shell, /s$/);
    shell.type(tab);
    await shows(shell, /taging /);
    await type(shell, "", /deployed {"env":"staging"}/);
    await eventually("all that may begin a line", () => {
      // Shown at the second one. Two at once would be taken for pasted text.
      shell.type(tab);
      return /help +list +verify/.test(plain(shell));
    });
    shell.type(ctrlC);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("a line that was typed during a call runs after it", async () => {
    await using shell = await open();
    await type(shell, "slow", /first part\n/);
    shell.type(`echo ahead${enter}`);
    shell.type(ctrlC);
    await shows(shell, /Cancelled\.[\s\S]*localhost> echo ahead\necho ahead\n/);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("keeps its lines in the home for the next one, but none that begins with a space", async () => {
    const home = join(site.path, "home");
    const flags = ["--home", home, "--certs", site.certs];
    await using first = await open({ flags });
    await type(first, "echo kept", /echo kept\n[\s\S]*localhost> /);
    await type(first, " echo secret", /echo secret\n[\s\S]*localhost> /);
    await type(first, "history", /\necho kept\nhistory\n/);
    first.type(ctrlD);
    expect(await first.ended()).toBe(0);
    expect(await Bun.file(join(home, "shell_history")).text()).toBe("echo kept\nhistory\n");
    expect((await stat(join(home, "shell_history"))).mode & 0o777).toBe(0o600);

    await using second = await open({ flags });
    second.output = "";
    second.type("\u001b[A");
    await shows(second, /history/);
    second.type("\u001b[A");
    await shows(second, /echo kept/);
    await type(second, "", /\necho kept\n/);
    await type(second, " echo other secret", /echo other secret\n[\s\S]*localhost> /);
    second.output = "";
    second.type("\u001b[A");
    await shows(second, /echo kept/);
    second.type(`${ctrlC}`);
    second.type(ctrlD);
    expect(await second.ended()).toBe(0);
  });

  test.each([120, 24])("announces a change above what is typed, with %i columns", async (columns) => {
    await using shell = await open({ columns });
    const typed = "echo half of a line that is longer than a narrow terminal";
    shell.type(typed);
    await eventually("what is typed", () => plain(shell).includes("a narrow terminal"));
    shell.output = "";
    await site.write("changing.ts", `export const execute = () => "${columns}";\n`);
    await shows(shell, /mod(re)?load .*changing\.ts[\s\S]*terminal/);
    // The line is drawn again below the news, and is still there to be sent.
    expect(plain(shell).replaceAll("\n", "")).toMatch(/changing\.ts.*localhost> echo half of a line/);
    await type(shell, "", /echo half of a line that/);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("announces what becomes pending, calls the approved version, and says that the server stops", async () => {
    await using other = await Site.create({ "echo.ts": echo });
    const running = await other.start();
    const [report] = jsonLines((await other.call(["list", "--json"])).stdout).filter(
      ({ mod }) => mod === "echo.ts",
    );
    await other.call(["approve", "echo", "--yes", "--tree", String(report?.tree)]);
    await using shell = new Terminal([other.client, "--port", String(other.port), "shell"], other.path, {
      columns: 120,
    });
    await shows(shell, /localhost> /);
    shell.type("echo half a l");
    await shows(shell, /half a l/);
    await other.write("echo.ts", echo.replace("echo ", "changed "));
    await shows(shell, /pending +echo\.ts: code\. [\s\S]*localhost> echo half a l/);
    await type(
      shell,
      "ine",
      /echo\.ts: a newer version is pending[\s\S]*echo half a line\n[\s\S]*localhost> /,
    );
    running.process.kill("SIGTERM");
    await shows(shell, /The server is about to stop\.[\s\S]*Disconnected: /);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("a cut connection ends the running call, and the shell connects again", async () => {
    using relay = new Relay(site.port);
    await using shell = await open({ port: relay.port });
    await type(shell, "slow", /first part\n/);
    relay.cutAll();
    await shows(shell, /error: [\s\S]*localhost> /);
    await shows(shell, /Disconnected: /);
    await shows(shell, /Reconnected; nothing has changed\./);
    await type(shell, "echo back", /echo back\n/);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("says once that the server no longer lets it in", async () => {
    const key = await site.newClient("guest");
    await site.admit(key);
    using relay = new Relay(site.port);
    await using shell = await open({ port: relay.port, flags: ["--certs", key.certs] });
    await site.manage(["untrust", key.fingerprint]);
    await shows(
      shell,
      /Disconnected: .*no longer trusted[\s\S]*Disconnected: .*may not trust this client's key/,
    );
    const before = relay.connections;
    await eventually("two more attempts", () => relay.connections >= before + 2, 10_000);
    expect(plain(shell).match(/may not trust/g)).toHaveLength(1);
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("on a dumb terminal moves no cursor, and Ctrl-C still cancels the call only", async () => {
    await using shell = await open({ env: { TERM: "dumb" } });
    await type(shell, "slow", /first part\n/);
    shell.type(ctrlC);
    await shows(shell, /Cancelled\.\n[\s\S]*localhost> /);
    await type(shell, "echo next", /echo next\n/);
    expect(shell.output).not.toContain("\u001b");
    shell.type(ctrlD);
    expect(await shell.ended()).toBe(0);
  });

  test("NO_COLOR colours nothing", async () => {
    const colour = /\u001b\[[0-9;]*m/;
    await using coloured = await open();
    await type(coloured, "nothing", /no module 'nothing'/);
    expect(coloured.output).toMatch(colour);
    await using shell = await open({ env: { NO_COLOR: "1" } });
    await type(shell, "nothing", /no module 'nothing'/);
    expect(shell.output).not.toMatch(colour);
  });

  test("a result with wide characters and escapes is shown, and nothing in it acts on the terminal", async () => {
    await using shell = await open();
    await type(shell, "echo 世界 \u001b[A", /echo 世界/);
    await site.write("evil.ts", 'export const execute = () => "\\u001b]0;owned\\u0007";\n');
    await shows(shell, /modload .*evil\.ts/);
    await type(shell, "evil", /\\u001b\]0;owned\\u0007/);
    expect(shell.output).not.toContain("\u001b]0;");
  });
});
