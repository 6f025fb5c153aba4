import { basename, join } from "node:path";

/** The platforms that releases are built for, by the suffix of their file names. */
export const targets = {
  "linux-x64": "bun-linux-x64",
  "linux-x64-baseline": "bun-linux-x64-baseline",
  "linux-arm64": "bun-linux-arm64",
  "linux-x64-musl": "bun-linux-x64-musl",
  "linux-arm64-musl": "bun-linux-arm64-musl",
  "darwin-x64": "bun-darwin-x64",
  "darwin-arm64": "bun-darwin-arm64",
  "windows-x64": "bun-windows-x64",
  "windows-arm64": "bun-windows-arm64",
} as const satisfies Record<string, Bun.Build.CompileTarget>;
export type Target = keyof typeof targets;

/** The executables and their entry files. */
export const executables = [
  { name: "veripy-server", entry: "src/cli/server.ts" },
  { name: "veripy-client", entry: "src/cli/client.ts" },
] as const;

/**
 * The targets in a comma-separated list, in the table's order; all of them for `undefined`. Throws an Error that names
 * the unknown targets and the known ones.
 */
export function parseTargets(list: string | undefined): Target[] {
  const all = Object.keys(targets) as Target[];
  if (list === undefined) return all;
  const wanted = list.split(",").map((name) => name.trim());
  const unknown = wanted.filter((name) => !Object.hasOwn(targets, name));
  if (unknown.length > 0) {
    throw new Error(`Cannot build for '${unknown.join(", ")}'. The targets are ${all.join(", ")}.`);
  }
  return all.filter((target) => wanted.includes(target));
}

/** The path of the executable for `target`, including the Windows suffix. */
export function releasePath(dist: string, name: string, target: Target): string {
  return join(dist, `${name}-${target}${target.startsWith("windows") ? ".exe" : ""}`);
}

/** A line as `sha256sum` prints it. `sha256sum -c` reads it in the file's folder. */
export function sha256sumLine(sum: string, path: string): string {
  return `${sum}  ${basename(path)}\n`;
}
