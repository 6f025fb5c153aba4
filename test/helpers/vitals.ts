import { readdirSync, readFileSync } from "node:fs";
import { childrenOf } from "./procfs.ts";

/** The resources of a process (Linux). */
export interface Vitals {
  /** Resident memory, including shared pages. */
  readonly rssBytes: number;
  readonly descriptors: number;
  /** Its child processes, without zombies. */
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

export function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

/** How often its main thread has gone to sleep since its start. */
export function sleepsOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN);
}
