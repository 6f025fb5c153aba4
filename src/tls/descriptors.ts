import { readFileSync } from "node:fs";

/** Left for files, module hosts and whatever else this process has to open. */
const reserved = 32;

/**
 * The first descriptor that a new connection may not have. Once there is none left, `accept` fails and the
 * listening socket stays readable: the event loop would spin, and nothing could be opened to mend it. So
 * connections are turned away a little before. Infinity where the system does not tell.
 */
export function descriptorCeiling(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "latin1");
    const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
    return Number.isFinite(soft) ? soft - Math.min(reserved, Math.floor(soft / 8)) : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The descriptor of a connection or a listener; Bun has the number, its types leave it out. -1 when it is closed. */
export function descriptorOf(socket: object): number {
  return (socket as { fd?: number }).fd ?? -1;
}
