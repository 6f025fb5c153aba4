// Written in by the build (src/tools/compile.ts); not there when VeriPy runs from its sources.
declare const VERIPY_VERSION: string;
declare const VERIPY_COMMIT: string;

/** The version of package.json, `0.0.0` when run from the sources. */
export const version = typeof VERIPY_VERSION === "string" ? VERIPY_VERSION : "0.0.0";

/** The commit that was built, with `-dirty` for changed files; `source` when run from the sources. */
export const commit = typeof VERIPY_COMMIT === "string" ? VERIPY_COMMIT : "source";

/** What `sys:info` calls this program. */
export const product = `veripy/${version}`;
