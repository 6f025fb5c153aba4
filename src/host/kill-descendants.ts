import { readdirSync, readFileSync } from "node:fs";

/** How long a program may take to stop; one that waits for a disk stops later. */
const patienceMs = 20;

/**
 * Kills every program that a process has started, directly or through others, also those in sessions of their own,
 * which a signal to its group does not reach; leaves the process itself stopped, unless it is the caller's. A
 * program whose parent has ended is nobody's descendant any more and is missed; a cgroup is what holds those.
 * Linux only; elsewhere nothing happens.
 */
export function killDescendants(pid: number): void {
  if (process.platform !== "linux") return;
  // Each is stopped before its own programs are looked for: one that were killed, or went on, would have started
  // another after the look, and nobody would know whose that was.
  const found = new Set<number>();
  if (pid !== process.pid) {
    found.add(pid);
    signal(pid, "SIGSTOP");
  }
  const until = performance.now() + patienceMs;
  for (;;) {
    const before = found.size;
    stopDescendants(pid, found);
    if (performance.now() > until) break;
    if (found.size > before) continue;
    if ([...found].every(isStill)) break;
    Bun.sleepSync(0.2);
  }
  found.delete(pid);
  for (const descendant of found) signal(descendant, "SIGKILL");
}

function stopDescendants(pid: number, found: Set<number>): void {
  for (const child of childrenOf(pid)) {
    if (!found.has(child)) {
      found.add(child);
      signal(child, "SIGSTOP");
    }
    stopDescendants(child, found);
  }
}

/** Linux lists children by the thread that started them. Empty when the kernel was built without the list. */
function childrenOf(pid: number): number[] {
  return unlessGone(() => readdirSync(`/proc/${pid}/task`), []).flatMap((thread) =>
    unlessGone(() => readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1"), "")
      .split(" ")
      .filter(Boolean)
      .map(Number),
  );
}

/** True when it is stopped, has ended, or is gone: it starts nothing more. */
function isStill(pid: number): boolean {
  const stat = unlessGone(() => readFileSync(`/proc/${pid}/stat`, "latin1"), "");
  // pid (command) state …: the command may hold anything, a parenthesis too.
  return !/^[RSD]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

function signal(pid: number, name: NodeJS.Signals): void {
  unlessGone(() => process.kill(pid, name), true);
}

/** Processes and threads end while they are looked at. */
function unlessGone<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
