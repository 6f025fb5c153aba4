import type { SystemCalls } from "../system-calls.ts";

const SYS_capget: Partial<Record<NodeJS.Architecture, number>> = { x64: 125, arm64: 90 };
const SYS_capset: Partial<Record<NodeJS.Architecture, number>> = { x64: 126, arm64: 91 };
/** `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`. */
const version = 0x2008_0522;
/** CAP_DAC_OVERRIDE, DAC_READ_SEARCH and FOWNER: root's way with files, which Landlock confines. NET_BIND_SERVICE: ports below 1024. */
const kept = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 10);

/**
 * Gives up what root may do besides files and ports, such as to freeze a file system or to configure the network. With
 * `no_new_privs` no program brings it back. Changes nothing for other users. Throws when the kernel refuses.
 */
export function dropCapabilities(system: SystemCalls, address: (bytes: Uint8Array) => number): void {
  const capget = SYS_capget[process.arch];
  const capset = SYS_capset[process.arch];
  if (capget === undefined || capset === undefined) return;
  const header = new Uint8Array(new Uint32Array([version, 0]).buffer);
  // Two of `struct { u32 effective, permitted, inheritable }`: capabilities 0 to 31, and the rest.
  const sets = new Uint32Array(6);
  const bytes = new Uint8Array(sets.buffer);
  if (system.call(capget, address(header), address(bytes), 0, 0) !== 0)
    throw new Error("the kernel does not tell the capabilities");
  const left = sets.map((set, index) => (index < 2 ? set & kept : 0));
  if (system.call(capset, address(header), address(new Uint8Array(left.buffer)), 0, 0) !== 0)
    throw new Error("the kernel refused to drop capabilities");
}
