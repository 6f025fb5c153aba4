import { readdirSync, readFileSync, readlinkSync } from "node:fs";

// What Linux says about other processes. On other systems, the tests that need it are skipped.

export const hasProcfs = process.platform === "linux";

/** The processes whose working directory is `path` or below it. */
export function processesIn(path: string): Array<{ readonly pid: number; readonly command: string }> {
  return pids().flatMap((pid) => {
    const directory = unlessGone(() => readlinkSync(`/proc/${pid}/cwd`));
    if (directory !== path && !directory?.startsWith(`${path}/`)) return [];
    return isLive(pid) ? { pid, command: commandOf(pid) } : [];
  });
}

/** The processes that were started with this variable, written `NAME=value`, in their environment. */
export function processesWith(variable: string): Array<{ readonly pid: number; readonly command: string }> {
  return pids().flatMap((pid) => {
    const environment = unlessGone(() => readFileSync(`/proc/${pid}/environ`, "utf8"));
    if (environment === undefined || !environment.split("\0").includes(variable)) return [];
    return isLive(pid) ? { pid, command: commandOf(pid) } : [];
  });
}

/** The live module hosts that a server has started. */
export function hostsOf(serverPid: number): number[] {
  return pids().filter((pid) => {
    const command = commandOf(pid).split(" ");
    return command[1] === "module-host" && command[2] === String(serverPid) && isLive(pid);
  });
}

/** The live processes that a process has started itself. */
export function childrenOf(parent: number): number[] {
  return pids().filter((pid) => {
    // Both from one read, because the process may end in between.
    const stat = statOf(pid);
    return stat(4) === String(parent) && stat(3) !== "Z";
  });
}

/** Memory of this process alone, in bytes; 0 if it is gone. */
export function privateBytes(pid: number): number {
  const path = `/proc/${pid}/smaps_rollup`;
  return (kibibytes(path, "Private_Clean") + kibibytes(path, "Private_Dirty")) * 1024;
}

/** Memory in bytes, with each shared page counted proportionally; 0 if it is gone. */
export function proportionalBytes(pid: number): number {
  return kibibytes(`/proc/${pid}/smaps_rollup`, "Pss") * 1024;
}

function pids(): number[] {
  return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? Number(name) : []));
}

function commandOf(pid: number): string {
  return (unlessGone(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "").replaceAll("\0", " ").trim();
}

/** True while it runs or is ready to run, rather than waiting for something. */
export function isOnProcessor(pid: number): boolean {
  return stateOf(pid) === "R";
}

/** True while the process exists and is not a zombie. */
export function isLive(pid: number): boolean {
  const state = stateOf(pid);
  return state !== undefined && state !== "Z" && state !== "X";
}

function stateOf(pid: number): string | undefined {
  return statOf(pid)(3);
}

/** Processor time of a process since its start, which the system counts in steps of 10 ms. */
export function cpuMsOf(pid: number): number {
  const stat = statOf(pid);
  return (Number(stat(14)) + Number(stat(15))) * 10;
}

/** The fields of `/proc/PID/stat` from the third on, by their numbers in proc(5); undefined if it is gone. */
export function statOf(pid: number): (field: number) => string | undefined {
  const stat = unlessGone(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  // Field 2, the command, may contain anything, so the fields are counted after it.
  const fields = stat?.slice(stat.lastIndexOf(") ") + 2).split(" ") ?? [];
  return (field) => fields[field - 3];
}

function kibibytes(path: string, name: string): number {
  const text = unlessGone(() => readFileSync(path, "latin1")) ?? "";
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
}

/** Undefined if the process has ended, which it may do at any time. */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
