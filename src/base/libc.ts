import type { FFIFunction, Library } from "bun:ffi";

const names: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`],
  darwin: ["libSystem.B.dylib"],
};

/**
 * These functions of the system's C library: glibc or musl on Linux, libSystem on macOS. Undefined on other systems,
 * and where the library lacks one of them.
 */
export function openLibc<const F extends Record<string, FFIFunction>>(functions: F): Library<F> | undefined {
  // Required here, not imported: most processes have no use for it.
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
