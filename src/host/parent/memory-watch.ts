import { readFileSync } from "node:fs";

/** What the watch looks at: one process with a limit. */
export interface WatchedProcess {
  readonly pid: number;
  /** Bytes; 0: no limit. */
  readonly maxMemoryBytes: number;
  /** True while it works. The others grow rarely, and are looked at in turn. */
  readonly busy: boolean;
  overMemory(bytes: number): void;
}

/** Between two looks at every process. Memory that grows faster than this is caught a look later. */
const everyMs = 250;
/** Of the processes that do not work, a look takes this many, so that a thousand of them cost little. */
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
      // To the end of the queue: a set keeps the order of insertion.
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
 * Resident memory of a process without the pages of files: those of the executable are there once for all hosts
 * and are nobody's fault. Undefined where the system does not tell (anything but Linux) or it is gone.
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
