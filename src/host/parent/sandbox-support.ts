import { existsSync } from "node:fs";
import { release } from "node:os";
import { landlockAbi, openSystemCalls } from "../system-calls.ts";

/** What a sandbox can hold a module to: its permissions, and that it signals no process but its own. */
export const enforceable = ["read", "write", "run", "connect", "listen", "signals"] as const;

/** What this system can do for a sandbox. */
export interface SandboxSupport {
  readonly platform: NodeJS.Platform;
  /** The kernel's release. */
  readonly kernel: string;
  /** The Landlock ABI; 0 without Landlock. */
  readonly abi: number;
  /** Whether system calls can be filtered. */
  readonly seccomp: boolean;
  readonly enforced: Readonly<Record<(typeof enforceable)[number], boolean>>;
}

let support: SandboxSupport | undefined;

/** What the running kernel can do. It does not change while the process runs. */
export function sandboxSupport(): SandboxSupport {
  support ??= supportOf(abiHere(), seccompHere());
  return support;
}

/** With this Landlock ABI: files 1, truncate 3, TCP ports 4, signals 6. The rest of what `seccomp` says is the filter's. */
export function supportOf(abi: number, seccomp: boolean): SandboxSupport {
  return {
    platform: process.platform,
    kernel: release(),
    abi,
    seccomp,
    enforced: {
      read: abi >= 1,
      write: abi >= 3 && seccomp,
      run: abi >= 1,
      connect: abi >= 4 && seccomp,
      listen: abi >= 4 && seccomp,
      signals: abi >= 6,
    },
  };
}

function abiHere(): number {
  const system = process.platform === "linux" ? openSystemCalls() : undefined;
  return system === undefined ? 0 : landlockAbi(system);
}

function seccompHere(): boolean {
  const hasTable = process.arch === "x64" || process.arch === "arm64";
  return hasTable && existsSync("/proc/sys/kernel/seccomp/actions_avail");
}
