// What makes certificates, in one file to be loaded on demand. `import()` of a package itself would not do: for a
// package in CommonJS form, Bun's bundler (1.4.5) writes `import(…).then((m) => helper(m.default))`, and minified the
// helper may be called `m` too.

// Must run before the other.
import "reflect-metadata";

export * from "@peculiar/x509";
