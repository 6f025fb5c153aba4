import { readdirSync, readFileSync } from "node:fs";

/**
 * Kills every program that a process has started, directly or through others, also those in sessions of their own,
 * which a signal to its group does not reach. A program whose parent has ended is nobody's descendant any more and
 * is missed; a cgroup is what holds those. Linux only; elsewhere nothing happens.
 */
export function killDescendants(pid: number): void {
  if (process.platform !== "linux") return;
  for (const descendant of descendantsOf(pid)) {
    try {
      process.kill(descendant, "SIGKILL");
    } catch {
      // Gone already.
    }
  }
}

function descendantsOf(pid: number): number[] {
  const found: number[] = [];
  for (const child of childrenOf(pid)) found.push(child, ...descendantsOf(child));
  return found;
}

/** Linux lists children by the thread that started them. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    // It has ended, or the kernel was built without the list.
    return [];
  }
}
