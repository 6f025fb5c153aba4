/**
 * `bun run demo` shows VeriPy in a minute, with throw-away keys and modules in a temporary folder. On a terminal it then
 * keeps running, to be tried out. It installs and builds first, so it may import built-ins only.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Program } from "./program.ts";
import { run } from "./run.ts";

const root = dirname(dirname(import.meta.dir));
const suffix = process.platform === "win32" ? ".exe" : "";
const serverPath = join(root, "dist", `veripy-server${suffix}`);
const clientPath = join(root, "dist", `veripy-client${suffix}`);
const isForPlay = process.stdin.isTTY && process.stdout.isTTY;

let directory: string | undefined;
const programs: Program[] = [];
let cleaning: Promise<void> | undefined;
// Writing to a closed terminal fails. The programs must be stopped all the same.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
for (const signal of Object.keys(signals) as (keyof typeof signals)[]) {
  process.on(signal, async () => {
    await cleanUp();
    process.exit(isForPlay && signal === "SIGINT" ? 0 : signals[signal]);
  });
}

try {
  await demo();
} catch (error) {
  // After a signal, the programs are being stopped, and errors are expected.
  if (cleaning === undefined) {
    console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
await cleanUp();

async function demo(): Promise<void> {
  say("Installing the packages and building both executables.");
  run([process.execPath, "install", "--frozen-lockfile", "--silent"], root);
  run([process.execPath, "run", "--silent", "build"], root);

  directory = mkdtempSync(join(tmpdir(), "veripy-demo-"));
  const mods = join(directory, "mods");
  const hello = join(mods, "hello.ts");
  say(
    "veripy-server init creates a key for each side, trusted-keys.json with the client's key, and a first module.",
  );
  const { made } = JSON.parse(await outputOf(serverPath, ["init", "--json"], directory)) as {
    made: string[];
  };
  for (const what of made) console.log(`  created ${what}`);
  // Copies of the modules that come with VeriPy, so that they can be edited.
  cpSync(join(root, "mods"), mods, { recursive: true });

  say("Starting the server on a free port:");
  const server = start(serverPath, ["start", "--port", "0", "--json"], "server", logText);
  const listening = await server.line("that it listens", (line) => textOf(line).startsWith("Listening on "));
  const port = String((JSON.parse(listening) as { port: number }).port);
  const flags = ["--port", port, "--certs", join(directory, "certs")];

  say("Starting the client. It fetches and hashes each module, then keeps running:");
  const client = start(clientPath, [...flags, "watch"], "client");
  for (const _ of readdirSync(mods).filter((name) => /^[^._].*\.[tj]s$/.test(name))) {
    await client.line("that a module is verified", isVerdict);
  }

  say("Running a module:");
  await expectResult(["exec", "hello.ts", "World"], flags, "Hello, World!");

  say("Editing hello.ts while both are running:");
  writeFileSync(hello, readFileSync(hello, "utf8").replace("Hello,", "Welcome,"));
  await client.line("that hello.ts was reloaded", (line) => /^modreload\s+hello\.ts/.test(line));
  await client.line(
    "that hello.ts is verified again",
    (line) => isVerdict(line) && line.includes("hello.ts"),
  );
  await expectResult(["exec", "hello.ts", "World"], flags, "Welcome, World!");

  if (!isForPlay) {
    say("That is all.");
    return;
  }
  say("Both keep running until you press Ctrl-C. Edit or add modules in");
  console.log(`  ${mods}\nand in another terminal, try`);
  for (const command of ["list", "verify", "exec uname.ts -a", "--help"]) {
    console.log(`  ${clientPath} ${flags.join(" ")} ${command}`);
  }
  await new Promise(() => setInterval(() => {}, 60_000));
}

function isVerdict(line: string): boolean {
  return line.startsWith("verified ");
}

/** Shows a command as you would type it, and its output. Throws if that is not the expected output. */
async function expectResult(
  command: readonly string[],
  flags: readonly string[],
  expected: string,
): Promise<void> {
  const output = await outputOf(clientPath, [...flags, ...command], root);
  console.log(`  $ veripy-client ${command.join(" ")}\n  ${output.trimEnd()}`);
  if (output !== `${expected}\n`) throw new Error(`The result should have been '${expected}'.`);
}

/** The standard output of a command. Throws with its standard error if it fails. */
async function outputOf(path: string, args: readonly string[], cwd: string): Promise<string> {
  const { stdout } = await promisify(execFile)(path, args, { cwd, encoding: "utf8", timeout: 20_000 });
  return stdout;
}

function start(
  path: string,
  args: readonly string[],
  name: string,
  text: (line: string) => string = (line) => line,
): Program {
  if (cleaning !== undefined) throw new Error("The demo is already ending.");
  const program = new Program(path, args, directory ?? root, (line) =>
    console.log(`  ${name} | ${text(line)}`),
  );
  programs.push(program);
  return program;
}

function logText(line: string): string {
  const message = textOf(line);
  return message === "" ? line : message;
}

/** The message of a log line of the server, which is a JSON object; empty for any other line. */
function textOf(line: string): string {
  return line.startsWith("{") ? (JSON.parse(line) as { message: string }).message : "";
}

function say(what: string): void {
  console.log(`\n${what}`);
}

/**
 * Under `bun run` or `npx`, Ctrl-C arrives twice: from the terminal, and from that program. So every call waits for the
 * same cleanup, and none exits the process while a program is still running.
 */
function cleanUp(): Promise<void> {
  cleaning ??= stopAll();
  return cleaning;
}

async function stopAll(): Promise<void> {
  // The client first, because it would report that the server is gone.
  for (const program of programs.splice(0).reverse()) await program.stop();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
}
