import type { FFIFunction, Library } from "bun:ffi";

const names: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`],
  darwin: ["libSystem.B.dylib"],
};

/**
 * Functions of the system's C library: glibc or musl on Linux, libSystem on macOS. Undefined on other systems, and when
 * the library lacks one of the functions.
 */
export function openLibc<const F extends Record<string, FFIFunction>>(functions: F): Library<F> | undefined {
  // Loaded on demand: most processes don't need it.
  const { dlopen } = require("bun:ffi") as typeof import("bun:ffi");
  for (const name of names[process.platform] ?? []) {
    try {
      return dlopen(name, functions);
    } catch {
      // Try the other C library.
    }
  }
  return undefined;
}
