import type { VeripyError } from "../base/errors.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { SpecifierSpan } from "../manifest/import-scan.ts";
import type { Manifest } from "../manifest/manifest.ts";

/** One file of a module: exactly the bytes that were hashed, as text (valid UTF-8; a byte-order mark is kept). */
export interface SourceText {
  /** Below `mods/`, with forward slashes. */
  readonly path: string;
  readonly content: string;
  readonly sum: Sha256Hex;
}

/**
 * A module as bytes: everything it may load, read once. To run it, take texts and resolved imports from here, never
 * from the disk: the files there may have changed since, or may be gone.
 */
export interface ModuleSource {
  /** The file name, `hello.ts`; also the path of `entry`. */
  readonly mod: string;
  /** The real path of `mods/` when it was read; file paths are relative to it. */
  readonly root: string;
  readonly entry: SourceText;
  /** The imported files without `entry`, sorted by the bytes of their paths. */
  readonly files: readonly SourceText[];
  /** The digest of `entry`. */
  readonly sum: Sha256Hex;
  /** The digest of all files. */
  readonly tree: Sha256Hex;
  /**
   * Which file each relative specifier means: importer's path → specifier → path, both of `entry` or `files`.
   * Built-ins (`node:fs`, `bun`) are not listed; everything else was refused. Symbolic links are not resolved:
   * a linked file goes by the path of its link, and its relative imports start from there.
   */
  readonly imports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Where the specifiers that Bun's loader would read stand in each file. Files without any are not listed. */
  readonly specifiers: Readonly<Record<string, readonly SpecifierSpan[]>>;
  /** What the files say of the module without being run; `bad_module` for a module that cannot be loaded. */
  readonly manifest: Manifest | VeripyError;
}
