import { openLibc } from "../base/libc.ts";

// netinet/in.h and linux/tcp.h.
const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;
/** Enough to keep a fast link busy; a small answer waits behind no more than that. */
const maxUnsentBytes = 128 * 1024;

/**
 * Keeps the kernel from taking 4 MiB for a connection whose other end is slow to read: what it has taken leaves in
 * order, while what waits in this process can still be put in a fair one. What is on its way is not limited. Connections
 * that `listeners`, which are descriptors, accept from now on inherit it. Linux only; elsewhere it does nothing.
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
