import { spawnSync } from "node:child_process";

/** Runs a program to its end and shows its output. Throws an Error that names the command if it fails. */
export function run(command: readonly [string, ...string[]], cwd: string): void {
  const [program, ...args] = command;
  const ended = spawnSync(program, args, { cwd, stdio: ["ignore", "inherit", "inherit"] });
  if (ended.error !== undefined) throw ended.error;
  if (ended.status !== 0) {
    throw new Error(`'${command.join(" ")}' ended with ${ended.status ?? ended.signal}.`);
  }
}

/** The output of a program, trimmed, or undefined if it fails or does not exist. */
export function outputOf(command: readonly [string, ...string[]], cwd: string): string | undefined {
  const [program, ...args] = command;
  const ended = spawnSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return ended.status === 0 ? ended.stdout.trim() : undefined;
}
