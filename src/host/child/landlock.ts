import { closeSync, fstatSync, openSync, statfsSync } from "node:fs";
import { fileRights, type SandboxRules } from "../sandbox-rules.ts";
import { landlockAbi, SYS_landlock_create_ruleset, type SystemCalls } from "../system-calls.ts";

// The numbers are the same on x64 and arm64; structures and flags are those of `linux/landlock.h`.
const SYS_landlock_add_rule = 445;
const SYS_landlock_restrict_self = 446;
const LANDLOCK_RULE_PATH_BENEATH = 1;
const LANDLOCK_RULE_NET_PORT = 2;
const LANDLOCK_ACCESS_NET_BIND_TCP = 1;
const LANDLOCK_ACCESS_NET_CONNECT_TCP = 2;
/** Abstract Unix sockets and signals. */
const LANDLOCK_SCOPES = 3;

/** What may be granted of a file that is no folder. */
const rightsOfFiles =
  fileRights.execute | fileRights.writeFile | fileRights.readFile | fileRights.truncate | fileRights.ioctlDev;
const SYS_dup = process.arch === "arm64" ? 23 : 32;
/** `PROC_SUPER_MAGIC` of `linux/magic.h`. */
const procfs = 0x9fa0;
// Node names neither.
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

/**
 * Restricts this thread, and every process and thread that it starts, to what `rules` allow, as far as this kernel's
 * ABI goes. A path that does not exist grants nothing. Throws when the kernel refuses; some of the threads may then be
 * restricted.
 */
export function restrictByLandlock(
  system: SystemCalls,
  address: (bytes: Uint8Array) => number,
  rules: SandboxRules,
): void {
  const abi = landlockAbi(system);
  if (abi === 0) return;
  const files = handledFileRights(abi);
  const attributes = new BigUint64Array([
    BigInt(files),
    BigInt(abi >= 4 ? LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP : 0),
    BigInt(abi >= 6 ? LANDLOCK_SCOPES : 0),
  ]);
  // Kernels that know fewer fields take a longer structure if the rest is zero.
  const bytes = new Uint8Array(attributes.buffer);
  const ruleset = must(
    system,
    "create a ruleset",
    system.call(SYS_landlock_create_ruleset, address(bytes), bytes.length, 0, 0),
  );
  const add = (type: number, rule: Uint8Array, what: string) =>
    must(system, what, system.call(SYS_landlock_add_rule, ruleset, type, address(rule), 0));

  for (const [path, rights] of rules.paths) {
    const fd = openPath(path);
    if (fd === undefined) continue;
    const granted = rights & files & (fstatSync(fd).isDirectory() ? -1 : rightsOfFiles);
    if (granted !== 0) add(LANDLOCK_RULE_PATH_BENEATH, pathRule(granted, fd), `grant ${path}`);
    // A rule is for an inode, and when memory is short the kernel makes those of /proc anew. Not while one is open; a
    // duplicate is inherited by the next image.
    if (statfsSync(path).type === procfs) must(system, `keep ${path}`, system.call(SYS_dup, fd, 0, 0, 0));
    closeSync(fd);
  }
  if (abi >= 4) {
    const ports: [number, readonly number[]][] = [
      [LANDLOCK_ACCESS_NET_CONNECT_TCP, rules.connect],
      [LANDLOCK_ACCESS_NET_BIND_TCP, rules.listen],
    ];
    for (const [access, list] of ports)
      for (const port of list)
        add(
          LANDLOCK_RULE_NET_PORT,
          new Uint8Array(new BigUint64Array([BigInt(access), BigInt(port)]).buffer),
          `grant port ${port}`,
        );
  }
  must(system, "restrict this process", system.call(SYS_landlock_restrict_self, ruleset, 0, 0, 0));
  closeSync(ruleset);
}

function handledFileRights(abi: number): number {
  let handled = fileRights.refer - 1;
  if (abi >= 2) handled |= fileRights.refer;
  if (abi >= 3) handled |= fileRights.truncate;
  if (abi >= 5) handled |= fileRights.ioctlDev;
  return handled;
}

/** `struct landlock_path_beneath_attr`, packed: u64 rights, s32 descriptor. */
function pathRule(rights: number, fd: number): Uint8Array {
  const rule = new DataView(new ArrayBuffer(12));
  rule.setBigUint64(0, BigInt(rights), true);
  rule.setInt32(8, fd, true);
  return new Uint8Array(rule.buffer);
}

function openPath(path: string): number | undefined {
  try {
    return openSync(path, O_PATH | O_CLOEXEC);
  } catch {
    return undefined;
  }
}

function must(system: SystemCalls, what: string, result: number): number {
  if (result < 0) throw new Error(`Landlock cannot ${what}: errno ${system.errno()}`);
  return result;
}
