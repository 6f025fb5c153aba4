import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { binaries } from "../helpers/binaries.ts";
import { strayEscapes } from "../helpers/escapes.ts";
import { run } from "../helpers/processes.ts";
import { temporaryDirectory } from "../helpers/temporary.ts";
import { Terminal } from "../helpers/terminal.ts";
import { eventually } from "../helpers/within.ts";

const key = "a".repeat(64);
/** Names that a hostile server may give its modules. None of them may be offered. */
const hostileNames = [
  "$(touch X).ts",
  "`touch X`.ts",
  "; touch X",
  "my module.ts",
  "it's.ts",
  'a"b.ts',
  "two\nlines.ts",
  "\x1b[31mred.ts",
  "\u202egnp.ts",
  "a*.ts",
  "-rm.ts",
];
const typedCommands = ["$(touch X)", "`touch X`", '"$(touch X)"', "a;touch X;"];

interface InteractiveShell {
  readonly command: string[];
  readonly load: string;
  /** Deletes the line that is being typed. */
  readonly clear: string;
}

const interactive: Record<string, InteractiveShell> = {
  bash: {
    command: ["bash", "--norc", "--noprofile", "-i"],
    load: "source <(veripy-client completion bash)",
    clear: "\x15",
  },
  zsh: {
    command: ["zsh", "-f", "-i"],
    // By default, Tab expands the word before it completes, which runs $(…): that is zsh's own doing.
    load: "autoload -Uz compinit && compinit -u -D && bindkey '^I' complete-word && source <(veripy-client completion zsh)",
    clear: "\x15",
  },
  fish: {
    command: ["fish", "--no-config", "-i"],
    load: "veripy-client completion fish | source",
    clear: "\x15",
  },
};

let folder: { path: string } & AsyncDisposable;
let environment: Record<string, string>;

beforeAll(async () => {
  folder = await temporaryDirectory();
  const home = join(folder.path, "home");
  const bin = join(folder.path, "bin");
  await mkdir(join(home, "certs"), { recursive: true, mode: 0o700 });
  await mkdir(bin);
  const { client, server } = await binaries();
  await symlink(client, join(bin, "veripy-client"));
  await symlink(server, join(bin, "veripy-server"));
  const records = ["hello.ts", "help-desk.ts", "größe.ts", ...hostileNames].map((mod) =>
    JSON.stringify({ mod }),
  );
  await Bun.write(join(home, "log.jsonl"), `{"mod":"cut short\n${records.join("\n")}\n`);
  await Bun.write(
    join(home, "certs/known-servers.json"),
    JSON.stringify({ "server.example:8443": key, "server.example:9443": key }),
  );
  await Bun.write(join(home, "veripy.toml"), '[hosts.prod]\naddress = "server.example"\n');
  environment = {
    PATH: `${bin}:${process.env.PATH}`,
    HOME: folder.path,
    VERIPY_HOME: home,
    TERM: "xterm",
    PS1: "> ",
  };
}, 60_000);
afterAll(() => folder[Symbol.asyncDispose]());

async function asked(program: "veripy-client" | "veripy-server", ...args: string[]): Promise<string[]> {
  const { stdout, stderr } = await run([program, "__complete", ...args], {
    cwd: folder.path,
    env: environment,
  });
  expect(stderr).toBe("");
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : (line.split("\t")[0] ?? "")));
}

describe("the names that completion offers", () => {
  test("are those of modules that were seen, and of hosts, read from files", async () => {
    expect(await asked("veripy-client", "fish", "1", "exec")).toEqual([
      "größe.ts",
      "hello.ts",
      "help-desk.ts",
    ]);
    expect(await asked("veripy-client", "fish", "1", "-H")).toEqual([
      "prod",
      "server.example:8443",
      "server.example:9443",
    ]);
  });

  test("are none where no file can be read", async () => {
    const empty = join(folder.path, "empty");
    expect(await asked("veripy-client", "fish", "3", "--home", empty, "exec", "")).toEqual([]);
    expect(await asked("veripy-client", "fish", "3", "--home", empty, "-H", "")).toEqual([]);
  });

  test("are escaped or left out if a shell or a terminal could take them for something else", async () => {
    const { stdout } = await run(["veripy-client", "__complete", "fish", "1", "exec"], {
      cwd: folder.path,
      env: environment,
    });
    for (const name of hostileNames) expect(stdout).not.toContain(name);
    expect(strayEscapes(stdout)).toEqual([]);
  });

  test("are the commands and flags of each program", async () => {
    expect(await asked("veripy-client", "fish", "0", "comp")).toEqual(["completion"]);
    expect(await asked("veripy-server", "fish", "0", "comp")).toEqual(["completion"]);
    expect(await asked("veripy-server", "fish", "0", "--sandb")).toEqual(["--sandbox"]);
    expect(await asked("veripy-server", "fish", "1", "--sandbox", "e")).toEqual(["enforce"]);
    expect(await asked("veripy-server", "fish", "1", "--audit", "")).toEqual([":files"]);
  });
});

test("a script is printed for each of four shells, and names no other", async () => {
  const env = environment;
  for (const shell of ["bash", "zsh", "fish", "powershell"]) {
    const { stdout, exitCode } = await run(["veripy-server", "completion", shell], { env });
    expect(exitCode).toBe(0);
    expect(stdout).toContain("veripy-server __complete");
    expect(stdout).not.toMatch(/\beval\b|PROGRAM|FUNCTION|veripy-client/);
  }
  const wrong = await run(["veripy-client", "completion", "tcsh"], { env });
  expect(wrong.exitCode).toBe(2);
  expect(wrong.stderr).toContain("bash, zsh, fish, powershell");
});

for (const [name, { command, load, clear }] of Object.entries(interactive)) {
  const isThere = Bun.which(name) !== null;
  const title = isThere ? name : `${name} (skipped: it is not installed)`;
  describe.skipIf(!isThere)(`completion in ${title}`, () => {
    let shell: Terminal;
    const marker = () => join(folder.path, "X");

    beforeAll(async () => {
      shell = new Terminal(command, folder.path, { columns: 150, env: environment });
      // In two pieces, so that the line which is typed does not match.
      shell.type(`${load}\recho load''ed\r`);
      await shell.shows(/loaded/, 30_000);
    }, 40_000);
    afterAll(() => shell[Symbol.asyncDispose]());

    /** Types a line and Tab, and resolves with what the terminal shows once that matches. */
    async function typed(line: string, pattern: RegExp): Promise<void> {
      shell.output = "";
      shell.type(`${line}\t`);
      await shell.shows(pattern, 30_000);
      shell.type(clear);
    }

    test("completes commands, flags, values, hosts and modules", async () => {
      await typed("veripy-client finge", /fingerprint/);
      await typed("veripy-client exec --no-rep", /eat/);
      await typed("veripy-client --log-level=warn", /ing/);
      await typed("veripy-client -H server.example:94", /43/);
      await typed("veripy-client exec hello", /\.ts/);
      await typed("veripy-client exec 'help", /-desk/);
      await typed("veripy-client --home ho", /home[^ ]*\//);
      await typed("veripy-client --lock=bi", /bin[^ ]*\//);
    }, 120_000);

    test("runs nothing of what was typed, nor of what a server named", async () => {
      for (const word of typedCommands) {
        shell.output = "";
        shell.type(`veripy-client exec ${word}\t${clear}`);
        shell.type(`veripy-client --lock ${word}\t${clear}`);
      }
      // The names that the server gave.
      shell.type(`veripy-client exec \t\t${clear}`);
      // The shell comes to this line when everything above has been completed.
      shell.type("echo don''e\r");
      await shell.shows(/done/, 60_000);
      expect(existsSync(marker())).toBe(false);
      // The same words, when they are run: the test sees what they would leave.
      shell.type("echo $(touch X)\r");
      await eventually("the mark", () => existsSync(marker()) || undefined);
      await rm(marker());
    }, 120_000);
  });
}
