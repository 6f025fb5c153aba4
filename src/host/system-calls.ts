import { openLibc } from "../base/libc.ts";

/** `syscall(2)`; `errno` is of the last call that returned -1. */
export interface SystemCalls {
  call(
    number: number,
    a: number | bigint,
    b: number | bigint,
    c: number | bigint,
    d: number | bigint,
  ): number;
  errno(): number;
}

/** Undefined where the C library can't be called. Linux only. */
export function openSystemCalls(): SystemCalls | undefined {
  const libc = openLibc({
    syscall: { args: ["i64", "u64", "u64", "u64", "u64"], returns: "i64" },
    __errno_location: { args: [], returns: "ptr" },
  });
  if (libc === undefined) return undefined;
  const { read } = require("bun:ffi") as typeof import("bun:ffi");
  const { syscall, __errno_location } = libc.symbols;
  return {
    call: (number, a, b, c, d) => Number(syscall(number, a, b, c, d)),
    errno: () => {
      const place = __errno_location();
      return place === null ? 0 : read.i32(place, 0);
    },
  };
}

/** `landlock_create_ruleset(2)`; the number is the same on x64 and arm64. */
export const SYS_landlock_create_ruleset = 444;
const LANDLOCK_CREATE_RULESET_VERSION = 1;

/** The Landlock ABI of this kernel: 0 where it has none, or it is switched off. */
export function landlockAbi(system: SystemCalls): number {
  return Math.max(0, system.call(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0));
}
