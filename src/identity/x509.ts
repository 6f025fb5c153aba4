// The packages that make certificates, in a file of its own that is loaded on demand. Bun 1.4.5 miscompiles a direct
// `import()` of a CommonJS package: it writes `import(…).then((m) => helper(m.default))`, and the minifier may rename
// the helper to `m` too.

// Must be loaded first.
import "reflect-metadata";

export * from "@peculiar/x509";
