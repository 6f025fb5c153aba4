import { readFileSync } from "node:fs";

/** A process with a memory limit. */
export interface WatchedProcess {
  readonly pid: number;
  /** Bytes; 0: no limit. */
  readonly maxMemoryBytes: number;
  /** Busy processes are checked every time. Idle ones rarely grow, and are checked in turn. */
  readonly busy: boolean;
  overMemory(bytes: number): void;
}

/** The interval of the checks. */
const everyMs = 250;
/** How many idle processes are checked at a time, so that a thousand of them cost little. */
const idlePerLook = 25;

/** One timer for the memory of all module hosts. It runs only while there is one. */
class MemoryWatch {
  readonly #watched = new Set<WatchedProcess>();
  #timer: ReturnType<typeof setInterval> | undefined;

  add(process: WatchedProcess): void {
    this.#watched.add(process);
    this.#timer ??= setInterval(() => this.#look(), everyMs).unref();
  }

  remove(process: WatchedProcess): void {
    this.#watched.delete(process);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    let idle = idlePerLook;
    for (const process of [...this.#watched]) {
      if (!process.busy && idle-- <= 0) continue;
      // Moves it to the end: a set keeps the order of insertion.
      this.#watched.delete(process);
      this.#watched.add(process);
      const bytes = process.maxMemoryBytes > 0 ? memoryOf(process.pid) : undefined;
      if (bytes !== undefined && bytes > process.maxMemoryBytes) process.overMemory(bytes);
    }
  }
}

/** One watch serves the whole process. */
export const memoryWatch = new MemoryWatch();

/**
 * Resident memory of a process without pages of files: all hosts share those of the executable. Undefined when the
 * process has ended, and on systems other than Linux.
 */
export function memoryOf(pid: number): number | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const match = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
    return match === null ? undefined : Number(match[1]) * 1024;
  } catch {
    return undefined;
  }
}
