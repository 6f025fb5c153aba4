import { lstatSync, realpathSync } from "node:fs";
import { join, sep } from "node:path";
import { isSystemError, messageOf, systemReasonOf, VeripyError } from "../base/errors.ts";
import { type FileStamp, stampOf } from "../base/file-stamp.ts";
import { readFileBounded } from "../base/files.ts";
import type { Limits } from "../base/limits.ts";
import { bulkSha256Hex } from "../base/sha256.ts";
import { decodeUtf8 } from "../base/utf8.ts";
import {
  candidatePaths,
  directoryImport,
  isImportable,
  type SpecifierSpan,
} from "../manifest/import-scan.ts";
import { type FileScan, linkManifest, type Manifest, scanFile } from "../manifest/manifest.ts";
import { byPath, treeSum } from "../protocol/tree.ts";
import type { ModuleSource, SourceText } from "./module-source.ts";

export type TreeLimits = Pick<Limits, "maxFileBytes" | "maxTreeBytes" | "maxTreeFiles">;

/** Reads the bytes of a file. Tests pass their own, to change files between two reads. */
export type ReadBytes = (path: string, maxBytes: number) => Promise<Uint8Array>;

/** One pass over a module's files. Each is read once, so the bytes that are hashed are the bytes that are kept. */
export class TreeReader {
  /** Everything that the result depends on, by path below `mods/`. Complete even after `read` has thrown. */
  readonly stamps = new Map<string, FileStamp>();
  readonly texts = new Map<string, SourceText>();
  readonly #imports: Record<string, Record<string, string>> = {};
  readonly #specifiers: Record<string, readonly SpecifierSpan[]> = {};
  /** Each file that was parsed, by path. */
  readonly scans = new Map<string, FileScan>();
  readonly #root: string;
  readonly #limits: TreeLimits;
  readonly #readBytes: ReadBytes;
  readonly #earlier: ReadonlyMap<string, FileScan>;
  #bytes = 0;

  /** `root` is the real path of `mods/`. `earlier` are the scans of a pass before: a text that is still the same is not parsed again. */
  constructor(
    root: string,
    limits: TreeLimits,
    readBytes: ReadBytes = readFileBounded,
    earlier: ReadonlyMap<string, FileScan> = new Map(),
  ) {
    this.#root = root;
    this.#limits = limits;
    this.#readBytes = readBytes;
    this.#earlier = earlier;
  }

  /**
   * Returns undefined if there is no such file. Throws `bad_module` or `too_large`; the message begins with the path
   * of the file at fault.
   */
  async read(mod: string): Promise<ModuleSource | undefined> {
    const { kind } = this.#stamp(mod);
    if (kind === "absent") {
      if (!isLink(join(this.#root, mod))) return undefined;
      throw new VeripyError("bad_module", `${mod}: it is a dangling symbolic link.`);
    }
    const entry = await this.#readText(mod);
    if (entry.content === "")
      throw new VeripyError("bad_module", `${mod}: it is empty; a module exports an async function execute.`);
    // The map grows during this loop. Each file is followed once, so circular imports come to an end.
    for (const text of this.texts.values()) await this.#follow(text);
    this.#refuseCaseTwins();
    const all = [...this.texts.values()].sort(byPath);
    return {
      mod,
      root: this.#root,
      entry,
      files: all.filter((text) => text !== entry),
      sum: entry.sum,
      tree: treeSum(all),
      imports: this.#imports,
      specifiers: this.#specifiers,
      manifest: this.#manifest(mod),
    };
  }

  #manifest(mod: string): Manifest | VeripyError {
    try {
      return linkManifest(mod, this.scans);
    } catch (error) {
      if (error instanceof VeripyError) return error;
      throw error;
    }
  }

  async #follow(text: SourceText): Promise<void> {
    const known = this.#earlier.get(text.path);
    const scan = known?.content === text.content ? known : scanFile(text.path, text.content);
    this.scans.set(text.path, scan);
    const { relative, specifiers } = scan;
    if (specifiers.length > 0) this.#specifiers[text.path] = specifiers;
    if (relative.length === 0) return;
    const resolved: Record<string, string> = {};
    this.#imports[text.path] = resolved;
    for (const specifier of relative) {
      const path = this.#resolve(text.path, specifier);
      resolved[specifier] = path;
      if (!this.texts.has(path)) await this.#readText(path);
    }
  }

  #resolve(importer: string, specifier: string): string {
    let directory = false;
    for (const path of candidatePaths(importer, specifier)) {
      const { kind } = this.#stamp(path);
      if (kind === "directory") directory = true;
      if (kind === "directory" || kind === "absent") continue;
      if (isImportable(path)) return path;
      throw new VeripyError(
        "bad_module",
        `${importer}: cannot import '${specifier}': a module may import .ts, .js and .json files.`,
      );
    }
    if (directory) throw directoryImport(importer, specifier);
    throw new VeripyError("bad_module", `${importer}: cannot import '${specifier}': there is no such file.`);
  }

  async #readText(path: string): Promise<SourceText> {
    const { maxTreeFiles, maxTreeBytes } = this.#limits;
    if (this.texts.size >= maxTreeFiles)
      throw new VeripyError("too_large", `${path}: the module has more than ${maxTreeFiles} files.`);
    const bytes = await this.#readBounded(path);
    this.#bytes += bytes.length;
    if (this.#bytes > maxTreeBytes)
      throw new VeripyError(
        "too_large",
        `${path}: the module's files together have more than ${maxTreeBytes} bytes.`,
      );
    const text: SourceText = { path, content: decode(path, bytes), sum: bulkSha256Hex(bytes) };
    this.texts.set(path, text);
    return text;
  }

  async #readBounded(path: string): Promise<Uint8Array> {
    const { kind } = this.#stamp(path);
    if (kind === "directory") throw new VeripyError("bad_module", `${path}: it is a directory.`);
    // Don't open it: opening a device can have side effects.
    if (kind === "other") throw new VeripyError("bad_module", `${path}: it is not a regular file.`);
    try {
      return await this.#readBytes(this.#realPath(path), this.#limits.maxFileBytes);
    } catch (error) {
      if (error instanceof VeripyError && error.code === "too_large")
        throw new VeripyError("too_large", `${path}: it has more than ${this.#limits.maxFileBytes} bytes.`);
      if (error instanceof VeripyError && error.code === "bad_module") throw error;
      throw unreadable(path, error);
    }
  }

  /** Resolves symbolic links. Throws `bad_module` for a link that leads out of `mods/`. */
  #realPath(path: string): string {
    const real = realpathSync.native(join(this.#root, path));
    if (real.startsWith(this.#root.endsWith(sep) ? this.#root : this.#root + sep)) return real;
    throw new VeripyError("bad_module", `${path}: it is a symbolic link that leads out of mods/.`, {
      detail: `${path}: it is a symbolic link that leads out of mods/, to ${real}.`,
    });
  }

  #stamp(path: string): FileStamp {
    const known = this.stamps.get(path);
    if (known !== undefined) return known;
    const stamp = stampOf(join(this.#root, path));
    this.stamps.set(path, stamp);
    return stamp;
  }

  /** On a file system that ignores case they would be one file, and a client may be on such a system. */
  #refuseCaseTwins(): void {
    const seen = new Map<string, string>();
    for (const path of [...this.texts.keys()].sort()) {
      const twin = seen.get(foldCase(path));
      if (twin !== undefined)
        throw new VeripyError("bad_module", `${path}: its name and that of ${twin} differ only in case.`);
      seen.set(foldCase(path), path);
    }
  }
}

/** Two names fold to the same text if a common file system would treat them as one file. */
export function foldCase(name: string): string {
  return name.normalize("NFC").toLowerCase();
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return decodeUtf8(bytes);
  } catch (error) {
    throw new VeripyError("bad_module", `${path}: it is not valid UTF-8; save it as UTF-8.`, {
      cause: error,
    });
  }
}

function unreadable(path: string, error: unknown): VeripyError {
  const isLoop = isSystemError(error, "ELOOP");
  const reason = isLoop ? "its symbolic links form a loop" : systemReasonOf(error);
  return new VeripyError(
    "bad_module",
    `${path}: it cannot be read${reason === undefined ? "" : `: ${reason}`}.`,
    {
      cause: error,
      detail: `${path}: it cannot be read: ${isLoop ? reason : messageOf(error)}.`,
    },
  );
}
