import type { Pointer } from "bun:ffi";
import { readFileSync } from "node:fs";
import { openLibc } from "../../base/libc.ts";
import { spareTitle } from "../protocol.ts";

/** `prctl(2)`: sets the name of this thread, which is the main one, and so of the process. */
const PR_SET_NAME = 15;

/** Where the arguments of a process end, by its number in proc(5). */
const argEndField = 49;

/**
 * What `ps` shows of a module host: `hello.ts 0123456789abcdef`. A process that is started for a module has that as its
 * last argument. A spare process has `spare` there, padded, and overwrites it in memory: the runtime cannot change its
 * arguments, but the kernel shows the memory that holds them. Linux only. Never throws, because a module runs without a
 * title too.
 */
export class ProcessTitle {
  #room: Uint8Array | undefined;

  /** Finds the memory to write to. It takes a millisecond, so a spare process does it in advance. */
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
      // There is no /proc, or it has another format.
    }
  }

  set(title: string, mod: string): void {
    if (process.platform !== "linux") return;
    // Shown by `top`, and by `ps` without options; the kernel keeps 15 bytes of it. The sandbox allows no write to /proc.
    const libc = openLibc({ prctl: { args: ["i32", "ptr", "u64", "u64", "u64"], returns: "i32" } });
    libc?.symbols.prctl(PR_SET_NAME, Buffer.from(`${mod}\0`), 0, 0, 0);
    // A zero ends an argument, so nothing after it is shown.
    this.#room?.fill(0);
    if (this.#room !== undefined) new TextEncoder().encodeInto(title, this.#room);
  }
}
