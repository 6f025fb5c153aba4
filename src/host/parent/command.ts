import { basename, join } from "node:path";
import { printable } from "../../base/printable.ts";
import { moduleHostArgument, spareTitle } from "../protocol.ts";
import type { SandboxMode } from "./sandbox-mode.ts";

/** How module hosts are started, and as whom. */
export interface HostOptions {
  /**
   * The command line that ends up in `runModuleHost()`; `module-host …` is appended. By default the running
   * executable itself, or, uncompiled, Bun with a small entry point.
   */
  command: readonly string[];
  /** Variables of the server's environment that modules see besides PATH, HOME, LANG, TZ and TMPDIR. */
  moduleEnv: readonly string[];
  /** Runs hosts as another user, without supplementary groups. The server must be root for that. */
  user: { readonly uid: number; readonly gid: number };
  /** An existing cgroup directory that hosts are started in (Linux). */
  cgroup: string;
  /** The working directory of modules; by default their temporary folder, and the server's where they are not sandboxed. */
  cwd: string;
  /**
   * What carries the control channel: a socket of its own, or standard input and output where processes inherit
   * no sockets. The default suits the system.
   */
  transport: "socket" | "pipes";
  /** Whether modules are held to their permissions; `best-effort` by default. */
  sandbox: SandboxMode;
}

/** The default of `HostOptions.command`. */
export function hostCommand(): readonly string[] {
  if (isCompiled()) {
    // An upgrade may have replaced the file; a host must run the server's own version.
    return [process.platform === "linux" ? "/proc/self/exe" : process.execPath];
  }
  // No downloads of packages that a module names, and no .env of the working directory.
  return [process.execPath, "--no-install", "--no-env-file", hostEntry];
}

const hostEntry = join(import.meta.dir, "../child/entry.ts");

/** Where hosts begin when VeriPy runs from its sources; undefined in an executable. */
export function hostEntryPoint(): string | undefined {
  return isCompiled() ? undefined : hostEntry;
}

/** What `ps` shows as the program instead of `/proc/self/exe`. Undefined: the command itself. */
export function hostName(command: readonly string[]): string | undefined {
  return command[0] === "/proc/self/exe" ? basename(process.execPath) : undefined;
}

/** The arguments that `runModuleHost` reads; the last one is for `ps`, see `ProcessTitle`. */
export function hostArguments(transport: HostOptions["transport"], title = spareTitle): readonly string[] {
  return [moduleHostArgument, String(process.pid), transport, title];
}

/** For `ProcessTitle`. */
export function hostTitle({ mod, tree }: { readonly mod: string; readonly tree: string }): string {
  return printable(`${mod} ${tree.slice(0, 16)}`);
}

function isCompiled(): boolean {
  // Not import.meta.url: compiled to bytecode as CommonJS it still names the source, and hosts would start servers.
  return Bun.main.includes("/$bunfs/") || Bun.main.includes("~BUN");
}

const basicVariables = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
/** Without these, Windows programs don't start. */
const windowsVariables = ["SystemRoot", "SystemDrive", "TEMP", "TMP", "USERPROFILE", "PATHEXT", "ComSpec"];

/**
 * The environment of a host: a few basic variables and those named in `moduleEnv`, so that no secret of the server's gets
 * into it by accident.
 */
export function hostEnvironment(moduleEnv: readonly string[]): Record<string, string> {
  const names = [...basicVariables, ...(process.platform === "win32" ? windowsVariables : []), ...moduleEnv];
  const environment: Record<string, string> = {};
  for (const name of names) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}
