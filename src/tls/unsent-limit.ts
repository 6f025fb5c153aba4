import { openLibc } from "../base/libc.ts";

// netinet/in.h and linux/tcp.h.
const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;
/** Enough to keep a fast link busy. A small answer waits behind no more than this. */
const maxUnsentBytes = 128 * 1024;

/**
 * Keeps the kernel from buffering 4 MiB of unsent data for a slow reader: data in the kernel leaves in order, while data
 * that waits in this process can still be scheduled fairly. Data in flight is not limited. Connections that `listeners`
 * (descriptors) accept from now on inherit the limit. Does nothing on systems other than Linux.
 */
export function limitUnsent(listeners: readonly number[]): void {
  if (process.platform !== "linux") return;
  const libc = openLibc({
    setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  });
  const value = new Int32Array([maxUnsentBytes]);
  for (const listener of listeners) {
    libc?.symbols.setsockopt(listener, IPPROTO_TCP, TCP_NOTSENT_LOWAT, value, value.byteLength);
  }
  libc?.close();
}
