import { readdirSync, readFileSync } from "node:fs";

/** What a process holds (Linux). */
export interface Vitals {
  /** Resident memory, shared pages included. */
  readonly rssBytes: number;
  readonly descriptors: number;
  /** Its child processes that are no zombies. */
  readonly children: readonly number[];
}

export function vitalsOf(pid: number): Vitals {
  return {
    rssBytes: rssOf(pid),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    children: childrenOf(pid),
  };
}

export function rssOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

export function childrenOf(pid: number): number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();
  const pids = listed === "" ? [] : listed.split(" ").map(Number);
  return pids.filter((child) => !isZombie(child));
}

function isZombie(pid: number): boolean {
  try {
    return /^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return true;
  }
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

/** Processor time of a process since its start; the system counts it in steps of 10 ms. */
export function cpuMsOf(pid: number): number {
  const { stdout } = Bun.spawnSync(["cat", `/proc/${pid}/stat`]);
  const fields = stdout
    .toString()
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** How often its main thread has gone to sleep since its start. */
export function sleepsOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN);
}
