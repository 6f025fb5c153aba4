import { VeripyError } from "../base/errors.ts";
import type { SandboxMode } from "../host/parent/sandbox-mode.ts";
import { enforceable, type SandboxSupport } from "../host/parent/sandbox-support.ts";
import type { SandboxStatus } from "../protocol/messages.ts";

/** What a server says of its sandbox. */
export function sandboxStatus(mode: SandboxMode, support: SandboxSupport): SandboxStatus {
  return { mode, enforced: mode !== "off" && missing(support).length === 0, abi: support.abi };
}

/**
 * What the log says at the start, if anything. Throws `bad_config` with the mode `enforce` where a permission can't be
 * enforced.
 */
export function sandboxWarnings(mode: SandboxMode, support: SandboxSupport): string[] {
  if (mode === "off") return ["Modules are not held to their permissions: the sandbox is off."];
  const open = missing(support);
  if (open.length === 0) return [];
  const what =
    open.length === enforceable.length
      ? "the permissions of modules"
      : `of modules' permissions: ${open.join(", ")}`;
  const why = `${systemOf(support)} lacks what that takes ('veripy-server doctor' says more)`;
  if (mode === "enforce")
    throw new VeripyError(
      "bad_config",
      `Cannot enforce ${what}: ${why}. Start with --sandbox best-effort to run modules all the same.`,
    );
  return [`This system does not enforce ${what}: ${why}.`];
}

function missing({ enforced }: SandboxSupport): string[] {
  return enforceable.filter((kind) => !enforced[kind]);
}

function systemOf({ platform, kernel }: SandboxSupport): string {
  const names: Partial<Record<NodeJS.Platform, string>> = {
    linux: "Linux",
    darwin: "macOS",
    win32: "Windows",
  };
  return `${names[platform] ?? platform} ${kernel}`;
}
