import { readFileSync } from "node:fs";

/** Reserved for files, module processes and everything else that this process has to open. */
const reserved = 32;

/**
 * The first descriptor that a new connection may not use. When descriptors run out, `accept` fails and the listening
 * socket stays readable, so the event loop would spin and nothing could be opened any longer. Connections are refused a
 * little earlier. Infinity on systems that don't report the limit.
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

/** The descriptor of a connection or listener, which Bun's types omit. -1 when it is closed. */
export function descriptorOf(socket: object): number {
  return (socket as { fd?: number }).fd ?? -1;
}
