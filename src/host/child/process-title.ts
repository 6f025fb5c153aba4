import type { Pointer } from "bun:ffi";
import { readFileSync, writeFileSync } from "node:fs";
import { spareTitle } from "../protocol.ts";

/** Where the arguments of a process end, by its number in proc(5). */
const argEndField = 49;

/**
 * What `ps` shows of a module host: `hello.ts 0123456789abcdef`. A process that is started for a module has that as its
 * last argument. One that was started before has `spare`, which is written over: the runtime can't change its arguments,
 * but the kernel shows the memory that they lie in, and the server has made that one long enough. Linux only. Nothing is
 * thrown: without a title a module runs as well.
 */
export class ProcessTitle {
  #room: Uint8Array | undefined;

  /** Finds the place to write to: a millisecond that a process should spend while it waits. */
  prepare(): void {
    if (process.platform !== "linux" || process.argv.at(-1) !== spareTitle) return;
    try {
      const { toArrayBuffer } = require("bun:ffi") as typeof import("bun:ffi");
      const stat = readFileSync("/proc/self/stat", "latin1");
      // The fields are counted from the third on. A zero stands between the argument and the end.
      const end = Number(stat.slice(stat.lastIndexOf(") ") + 2).split(" ")[argEndField - 3]);
      const start = (end - 1 - spareTitle.length) as Pointer;
      const room = Buffer.from(toArrayBuffer(start, 0, spareTitle.length));
      if (room.toString("latin1") === spareTitle) this.#room = room;
    } catch {
      // No /proc here, or not this one.
    }
  }

  set(title: string, mod: string): void {
    if (process.platform !== "linux") return;
    try {
      // Shown by `top`, and by `ps` without options; the kernel keeps 15 bytes of it.
      writeFileSync("/proc/self/comm", mod);
    } catch {
      // As above.
    }
    // Zeros end an argument, so nothing is shown of what follows.
    this.#room?.fill(0);
    if (this.#room !== undefined) new TextEncoder().encodeInto(title, this.#room);
  }
}
