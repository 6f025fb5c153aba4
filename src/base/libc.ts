import type { FFIFunction, Library } from "bun:ffi";

const names = ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];

/** These functions of the system's C library, glibc's or musl's. Undefined where there is neither (not on Linux). */
export function openLibc<const F extends Record<string, FFIFunction>>(functions: F): Library<F> | undefined {
  if (process.platform !== "linux") return undefined;
  // Required here, not imported: most processes have no use for it.
  const { dlopen } = require("bun:ffi") as typeof import("bun:ffi");
  for (const name of names) {
    try {
      return dlopen(name, functions);
    } catch {
      // The other C library, then.
    }
  }
  return undefined;
}
