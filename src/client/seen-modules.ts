import { open } from "node:fs/promises";
import { readLock } from "../approvals/lock-file.ts";
import { lockPath, logPath } from "./approval-files.ts";

/** Enough for the last few thousand records. */
const maxLogBytes = 1024 * 1024;

/**
 * The names of modules that a client's user has seen or decided about lately, sorted, from the log and the lock in its home.
 * They are as the servers gave them. Reads files only, and what can't be read has no names.
 */
export async function seenModules(home: string): Promise<string[]> {
  const names = new Set<string>();
  const lock = await readLock(lockPath(home)).catch(() => undefined);
  for (const { modules } of Object.values(lock?.servers ?? {})) {
    for (const mod of Object.keys(modules ?? {})) names.add(mod);
  }
  for (const line of (await endOf(logPath(home)).catch(() => "")).split("\n")) {
    const mod = moduleIn(line);
    if (mod !== undefined) names.add(mod);
  }
  return [...names].sort();
}

/** Undefined for a line that was cut, or is about no module. */
function moduleIn(line: string): string | undefined {
  try {
    const { mod } = JSON.parse(line) as { mod?: unknown };
    return typeof mod === "string" ? mod : undefined;
  } catch {
    return undefined;
  }
}

async function endOf(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(size, maxLogBytes));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await file.close();
  }
}
