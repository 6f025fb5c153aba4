import { writeFileSync } from "node:fs";
import { openLibc } from "../../base/libc.ts";

/** `prctl(2)`, `fcntl(2)` and `sched(7)` numbers, the same on every Linux architecture that Bun runs on. */
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const SCHED_BATCH = 3;

/**
 * Ties this process to the server that started it: however the server dies, the kernel then kills this process, even if
 * it is in an endless loop and would never see its socket closed. Also closes `controlFd` in programs that a module
 * starts, and schedules the process as a batch job. Linux only; elsewhere a host ends when its socket is closed.
 *
 * Returns a function that lets another process go first on this processor; undefined where libc can't be called.
 */
export function dieWithParent(serverPid: number, controlFd: number | undefined): (() => void) | undefined {
  if (process.platform !== "linux") return undefined;
  const libc = openLibc({
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
    fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
    sched_yield: { args: [], returns: "i32" },
    sched_setscheduler: { args: ["i32", "i32", "ptr"], returns: "i32" },
  });
  if (libc !== undefined) {
    libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (controlFd !== undefined) libc.symbols.fcntl(controlFd, F_SETFD, FD_CLOEXEC);
    // The same share of the processor, but a call that arrives does not interrupt the server or another module in the
    // middle of its work. Without it, many calls at once are slower.
    libc.symbols.sched_setscheduler(0, SCHED_BATCH, new Int32Array(1));
  }
  // The server may have died between its fork and the line above.
  if (process.ppid !== serverPid) process.exit(0);
  try {
    // When the machine runs out of memory, the kernel kills modules before the server.
    writeFileSync("/proc/self/oom_score_adj", "500");
  } catch {
    // Not permitted in some containers.
  }
  return libc?.symbols.sched_yield;
}
