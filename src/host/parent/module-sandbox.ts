import { VeripyError } from "../../base/errors.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import { type SandboxRules, sandboxVariable } from "../sandbox-rules.ts";
import { type HostOptions, hostEntryPoint, hostEnvironment } from "./command.ts";
import { sandboxRules, sourcePaths, withTemporaryFolder } from "./sandbox.ts";

/** Linux takes no longer variable than 128 KiB, its name and the temporary folder included. */
const maxRulesBytes = 120 * 1024;

/**
 * The rules that a module declares for its process; undefined: it is not sandboxed. Throws `bad_module` when the module
 * has no manifest, or declares a program that cannot be run.
 */
export function moduleRules(
  { mod, manifest }: Pick<ModuleSource, "mod" | "manifest">,
  options: Partial<HostOptions>,
): SandboxRules | undefined {
  if (manifest instanceof VeripyError) throw manifest;
  const { permissions } = manifest;
  if (permissions === "all" || options.sandbox === "off") return undefined;
  const entry = hostEntryPoint();
  const rules = sandboxRules(mod, permissions, {
    sources: entry === undefined ? [] : sourcePaths(entry),
    path: hostEnvironment(options.moduleEnv ?? []).PATH ?? "",
  });
  const bytes = Buffer.byteLength(JSON.stringify(rules));
  if (bytes > maxRulesBytes)
    throw new VeripyError(
      "bad_module",
      `${mod} exports 'permissions' that are too long: ${bytes} bytes with what every module needs, the limit is ${maxRulesBytes}.`,
    );
  return rules;
}

/** The variables with which a process learns its rules, and where its temporary folder is. */
export function sandboxEnvironment(rules: SandboxRules, folder: string): Record<string, string> {
  switch (process.platform) {
    case "linux":
      return { TMPDIR: folder, [sandboxVariable]: JSON.stringify(withTemporaryFolder(rules, folder)) };
    case "win32":
      return { TEMP: folder, TMP: folder };
    default:
      return { TMPDIR: folder };
  }
}
