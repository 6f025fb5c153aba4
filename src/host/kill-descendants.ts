import { readdirSync, readFileSync } from "node:fs";

/** How long programs may take to stop. One that waits for a disk may take longer. */
const patienceMs = 20;

/**
 * Kills every program that a process has started, directly or through others, also those in sessions of their own,
 * which a signal to its group does not reach; leaves the process itself stopped, unless it is the
 * caller's. A program whose parent has ended is no longer a descendant and is missed; only a cgroup holds those.
 * Linux only; does nothing elsewhere.
 */
export function killDescendants(pid: number): void {
  if (process.platform !== "linux") return;
  // Each is stopped before its children are listed, so that it cannot start another afterwards. Killed at once, it would
  // leave children whose parent is unknown.
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
  for (const descendant of found) {
    signal(descendant, "SIGKILL");
    // A sandboxed process sees only its own children. Those that lead a group take their children with them.
    signal(-descendant, "SIGKILL");
  }
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

/** Linux lists children by the thread that started them. Empty if the kernel was built without these lists. */
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

/** A process or thread may end while it is examined. */
function unlessGone<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
