import { openLibc } from "../base/libc.ts";

/** As far as `net.core.somaxconn` allows it: 4,096 by default. */
const maxWaiting = 2_048;

/**
 * Lets more connections wait to be accepted than the 512 that Bun asks for. The system drops what arrives beyond, and
 * an honest client tries again only after a second. `listeners` are descriptors. Linux only; elsewhere it does nothing.
 */
export function deepenBacklog(listeners: readonly number[]): void {
  if (process.platform !== "linux") return;
  const libc = openLibc({ listen: { args: ["i32", "i32"], returns: "i32" } });
  for (const listener of listeners) libc?.symbols.listen(listener, maxWaiting);
  libc?.close();
}
