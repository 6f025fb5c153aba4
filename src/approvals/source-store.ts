import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isSystemError } from "../base/errors.ts";
import { readFileBounded, writeFileAtomic } from "../base/files.ts";
import { loggerOf } from "../base/log.ts";
import { isSha256Hex, sha256Hex } from "../base/sha256.ts";
import { decodeUtf8 } from "../base/utf8.ts";
import { parseTreeListing, type TreeEntry, treeListing, treeSum } from "../protocol/tree.ts";

const log = loggerOf("approvals");

const maxFileBytes = 64 * 1024 * 1024;
/** Beyond it, the sources that were written first are removed, unless they are approved. */
const maxStoreBytes = 256 * 1024 * 1024;
/** How much may be written before the size is looked at again. */
const prunedEveryBytes = 32 * 1024 * 1024;

/** One file of a module, as it was verified. */
export interface StoredFile extends TreeEntry {
  readonly content: string;
}

/**
 * The sources of modules that were verified, in a folder. Each file is named by its SHA-256, so that `sha256sum` checks it;
 * the listing of a module's files is named by its tree, which is the listing's SHA-256. Everything is hashed when it is
 * read, and what does not match is as good as missing.
 */
export class SourceStore {
  readonly folder: string;
  #isMade = false;
  #unprunedBytes = prunedEveryBytes;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** The files of a version, the module's own first; undefined unless all of them are there and unchanged. */
  async read(mod: string, tree: string): Promise<StoredFile[] | undefined> {
    const entries = parseTreeListing((await this.readText(tree)) ?? "");
    const own = entries?.find(({ path }) => path === mod);
    if (entries === undefined || own === undefined) return undefined;
    const files: StoredFile[] = [];
    for (const entry of [own, ...entries.filter((one) => one !== own)]) {
      const content = await this.readText(entry.sum);
      if (content === undefined) return undefined;
      files.push({ ...entry, content });
    }
    return files;
  }

  /** The trees of stored versions of a module that begin with these digits. */
  async treesOf(mod: string, prefix: string): Promise<string[]> {
    const names = await readdir(this.folder).catch(() => []);
    const trees: string[] = [];
    for (const name of names.filter((one) => isSha256Hex(one) && one.startsWith(prefix))) {
      const entries = parseTreeListing((await this.readText(name)) ?? "");
      if (entries?.some(({ path }) => path === mod) === true) trees.push(name);
    }
    return trees.sort();
  }

  /** The text with this digest; undefined unless it is there and unchanged. */
  async readText(sum: string): Promise<string | undefined> {
    if (!isSha256Hex(sum)) return undefined;
    const path = join(this.folder, sum);
    try {
      const bytes = await readFileBounded(path, maxFileBytes);
      if (sha256Hex(bytes) === sum) return decodeUtf8(bytes);
      log.warn("{path} was changed: its SHA-256 is not its name. It is not used.", { path });
    } catch (error) {
      if (!isSystemError(error, "ENOENT")) log.warn("Cannot read {path}: {error}", { path, error });
    }
    return undefined;
  }

  /**
   * Keeps a version. With `flush` it is on the disk when the promise resolves, and a failure rejects; without, a failure
   * only means that the version will be fetched again.
   */
  async keep(files: readonly StoredFile[], { flush = false } = {}): Promise<void> {
    const texts = files.map(({ sum, content }): [string, string] => [sum, content]);
    // Last, so that whatever is listed is there.
    texts.push([treeSum(files), treeListing(files)]);
    try {
      if (!this.#isMade) await mkdir(this.folder, { recursive: true, mode: 0o700 });
      this.#isMade = true;
      for (const [sum, text] of texts) {
        await this.#write(sum, text, flush);
        this.#unprunedBytes += text.length;
      }
    } catch (error) {
      if (flush) throw error;
      log.debug("Cannot keep a source in {folder}: {error}", { folder: this.folder, error });
    }
  }

  /** Whether `prune` is due: it was never called, or much was written since. */
  get isPruneDue(): boolean {
    return this.#unprunedBytes >= prunedEveryBytes;
  }

  /** Removes what was written first beyond the store's size, except these trees. Best effort. */
  async prune(approvedTrees: Iterable<string>, maxBytes = maxStoreBytes): Promise<void> {
    this.#unprunedBytes = 0;
    const names = await readdir(this.folder).catch(() => []);
    const found = await Promise.all(
      names.map(async (name) => {
        const status = await stat(join(this.folder, name)).catch(() => undefined);
        return { name, bytes: status?.size ?? 0, writtenMs: status?.mtimeMs ?? 0 };
      }),
    );
    let total = found.reduce((sum, { bytes }) => sum + bytes, 0);
    if (total <= maxBytes) return;
    const approved = new Set<string>();
    for (const tree of approvedTrees) {
      approved.add(tree);
      for (const { sum } of parseTreeListing((await this.readText(tree)) ?? "") ?? []) approved.add(sum);
    }
    for (const { name, bytes } of found.sort((a, b) => a.writtenMs - b.writtenMs)) {
      if (total <= maxBytes) return;
      if (approved.has(name)) continue;
      await rm(join(this.folder, name), { force: true }).catch(() => {});
      total -= bytes;
    }
  }

  async #write(sum: string, text: string, flush: boolean): Promise<void> {
    const path = join(this.folder, sum);
    if (flush) {
      // A file that is there may be damaged, or not flushed yet.
      await writeFileAtomic(path, text, 0o600);
      return;
    }
    const temporary = join(this.folder, `.${randomUUID()}.tmp`);
    try {
      await writeFile(temporary, text, { mode: 0o600, flag: "wx" });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw error;
    }
  }
}
