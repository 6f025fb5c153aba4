import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { ModuleContext } from "veripy";

export const description = "Runs uname with the given flags, for example: -s -r";
export const permissions = { run: ["uname"] } as const;

export async function execute(args: string, { signal }: ModuleContext): Promise<string> {
  const flags = args.split(/\s+/).filter((flag) => flag !== "");
  for (const flag of flags) {
    if (!/^-[asnrvmpio]+$/.test(flag)) {
      throw new Error(`uname does not know '${flag}'; its flags are -a -s -n -r -v -m -p -i -o.`);
    }
  }
  // A program and its arguments, not a command line: no shell ever sees what the client sent.
  const { stdout } = await promisify(execFile)("uname", flags, { signal });
  return stdout.trimEnd();
}
