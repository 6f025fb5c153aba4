// Defined by the build (src/tools/compile.ts), but not when VeriPy runs from its sources.
declare const VERIPY_VERSION: string;
declare const VERIPY_COMMIT: string;

/**
 * `0.1.0+0123456789ab`: the version of package.json and the commit it was built from, followed by `-dirty` if files
 * differed from that commit. `0.0.0+source` when run from the sources.
 */
export const version =
  typeof VERIPY_VERSION === "string" ? `${VERIPY_VERSION}+${VERIPY_COMMIT}` : "0.0.0+source";

/** The program's name and version in `sys:info`. */
export const product = `veripy/${version}`;
