import { describe, expect, test } from "bun:test";
import { Argument, Command, Option } from "commander";
import { Completer } from "../../../src/cli/completion/completer.ts";

const asked: ReadonlyMap<string, string>[] = [];

/** Completes the last word of a line for a small program. */
async function completed(line: string): Promise<string[] | string> {
  const program = new Command("tool").addOption(new Option("-H, --host <host[:port]>"));
  program
    .command("watch", { isDefault: true })
    .addOption(new Option("--mode <mode>").choices(["soft", "hard"]));
  const exec = program.command("exec").argument("<mod>").argument("[args...]");
  exec.addOption(new Option("--home <folder>")).addOption(new Option("--lock <file>")).option("--no-lock");
  program.command("show").argument("<mod...>");
  program.command("shell").addArgument(new Argument("<shell>").choices(["bash", "zsh"]));
  program.command("secret", { hidden: true });
  const words = line.split(" ");
  const current = words.pop() ?? "";
  const completion = await new Completer(program, {
    defaultCommand: "watch",
    hosts: async () => ["prod", "test"],
    modules: async (typed) => {
      asked.push(typed);
      return ["--help", "hello.ts", "help.ts", "other.ts"];
    },
  }).complete(words, current);
  return completion.kind === "words" ? completion.words.map(({ value }) => value) : completion.kind;
}

describe("completion", () => {
  test("offers the commands of the help page, and not hidden ones", async () => {
    expect(await completed("")).toEqual(["watch", "exec", "show", "shell", "help"]);
    expect(await completed("sh")).toEqual(["show", "shell"]);
    expect(await completed("--host prod sho")).toEqual(["show"]);
    expect(await completed("--host=prod sho")).toEqual(["show"]);
  });

  test("offers the flags of the command, and without one those of the default command", async () => {
    expect(await completed("-")).toEqual(["--host", "--help", "--mode"]);
    expect(await completed("exec --")).toEqual(["--home", "--lock", "--no-lock", "--help"]);
  });

  test("offers what a flag takes, behind a blank or a '='", async () => {
    expect(await completed("--mode ")).toEqual(["soft", "hard"]);
    expect(await completed("--mode=h")).toEqual(["--mode=hard"]);
    expect(await completed("-H p")).toEqual(["prod"]);
    expect(await completed("--host=t")).toEqual(["--host=test"]);
    expect(await completed("exec --lock x")).toBe("files");
    expect(await completed("exec --home=x")).toBe("folders");
    expect(await completed("exec --no-lock hel")).toEqual(["hello.ts", "help.ts"]);
  });

  test("offers what an operand may be, again where it may be repeated", async () => {
    expect(await completed("shell ")).toEqual(["bash", "zsh"]);
    expect(await completed("shell bash ")).toEqual([]);
    expect(await completed("exec ")).toEqual(["hello.ts", "help.ts", "other.ts"]);
    expect(await completed("exec o")).toEqual(["other.ts"]);
    expect(await completed("show other.ts hel")).toEqual(["hello.ts", "help.ts"]);
    expect(await completed("show -- -")).toEqual([]);
  });

  test("offers nothing behind a module's name, where everything goes to the module", async () => {
    expect(await completed("exec hello ")).toEqual([]);
    expect(await completed("exec hello --lo")).toEqual([]);
  });

  test("looks for names where the flags before say", async () => {
    await completed("-H here exec --home elsewhere hel");
    expect([...(asked.at(-1) ?? [])]).toEqual([
      ["--host", "here"],
      ["--home", "elsewhere"],
    ]);
  });
});
