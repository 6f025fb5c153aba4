import { openLibc } from "../base/libc.ts";

/** The kernel limits it to `net.core.somaxconn`, 4,096 by default. */
const maxWaiting = 2_048;

/**
 * Lets more connections wait to be accepted than the 512 that Bun requests. The kernel drops connections beyond that, and
 * their clients try again only after a second. `listeners` are descriptors. Does nothing on systems other than Linux.
 */
export function deepenBacklog(listeners: readonly number[]): void {
  if (process.platform !== "linux") return;
  const libc = openLibc({ listen: { args: ["i32", "i32"], returns: "i32" } });
  for (const listener of listeners) libc?.symbols.listen(listener, maxWaiting);
  libc?.close();
}
