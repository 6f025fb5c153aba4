import bash from "./bash.txt" with { type: "text" };
import fish from "./fish.txt" with { type: "text" };
import powershell from "./powershell.txt" with { type: "text" };
import zsh from "./zsh.txt" with { type: "text" };

const scripts = { bash, zsh, fish, powershell } as const;

export type Shell = keyof typeof scripts;

/** The shells that there are completion scripts for. */
export const shells = Object.keys(scripts) as Shell[];

/** A program's completion script for a shell. It asks the program for candidates, and evaluates nothing that was typed. */
export function completionScript(shell: Shell, program: string): string {
  return scripts[shell].replaceAll("PROGRAM", program).replaceAll("FUNCTION", `_${program}`);
}
