import { readdirSync, readFileSync } from "node:fs";

/** What a process and all its descendants use. Linux only: elsewhere there is no /proc, and nothing is known. */
export interface Usage {
  /** Processor time since their start, in milliseconds, by process. */
  readonly cpuMs: ReadonlyMap<number, number>;
}

export interface Memory {
  /** Resident, with shared pages counted by their share (PSS), in kilobytes. */
  readonly totalKb: number;
  /** Pages that are the children's alone, per child, in kilobytes. */
  readonly privateKbPerChild: readonly number[];
}

const isSupported = process.platform === "linux";
/** USER_HZ: what /proc counts in, 100 on every Linux that matters here. */
const msPerTick = 10;

/** The processor time of `pid` and its descendants, or undefined where it can't be known. */
export function usageOf(pids: readonly number[]): Usage | undefined {
  if (!isSupported) return undefined;
  const cpuMs = new Map<number, number>();
  for (const pid of pids.flatMap(treeOf)) {
    const fields = statOf(pid);
    if (fields === undefined) continue;
    cpuMs.set(pid, (Number(fields[11]) + Number(fields[12])) * msPerTick);
  }
  return { cpuMs };
}

/** What was used between two looks; a process that was not there at the first began at zero. */
export function usedBetween(before: Usage, after: Usage): { totalMs: number; busiestMs: number } {
  const each = [...after.cpuMs].map(([pid, ms]) => ms - (before.cpuMs.get(pid) ?? 0));
  return { totalMs: each.reduce((sum, ms) => sum + ms, 0), busiestMs: Math.max(0, ...each) };
}

/** The memory of `pids` and their descendants, or undefined where it can't be known. */
export function memoryOf(pids: readonly number[]): Memory | undefined {
  if (!isSupported) return undefined;
  const tree = pids.flatMap(treeOf);
  let totalKb = 0;
  const privateKbPerChild: number[] = [];
  for (const pid of tree) {
    const rollup = readIfThere(`/proc/${pid}/smaps_rollup`);
    if (rollup === undefined) continue;
    const kb = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0);
    totalKb += kb("Pss");
    if (!pids.includes(pid)) privateKbPerChild.push(kb("Private_Clean") + kb("Private_Dirty"));
  }
  return { totalKb, privateKbPerChild };
}

/** `pid` and its descendants. */
export function treeOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(statOf(Number(name))?.[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const tree = [pid];
  for (let at = 0; at < tree.length; at++) tree.push(...(children.get(tree[at] ?? 0) ?? []));
  return tree;
}

/** The fields of /proc/PID/stat behind the program's name, which may itself hold spaces and brackets. */
function statOf(pid: number): string[] | undefined {
  const text = readIfThere(`/proc/${pid}/stat`);
  return text?.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** Undefined when the process has ended meanwhile. */
function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
