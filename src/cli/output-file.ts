import { randomUUID } from "node:crypto";
import { unlinkSync } from "node:fs";
import { type FileHandle, open, realpath, rename, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { WriteFailure } from "./write-failure.ts";

/**
 * A file that a command writes. The data goes to a temporary file beside it, which replaces it when everything is
 * written; until then, and when the command fails, an older file stays as it was. A pipe or a device cannot be replaced
 * and is written directly.
 *
 * All failures are `WriteFailure`. One that happens before `commit` is called is not caught: it ends the program.
 */
export class OutputFile {
  readonly #path: string;
  readonly #temporary: string | undefined;
  readonly #file: FileHandle;
  #queued: string[] = [];
  #writing: Promise<void> | undefined;
  #isOver = false;

  private constructor(path: string, temporary: string | undefined, file: FileHandle) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
    if (temporary !== undefined) process.on("exit", () => this.#removeTemporary());
  }

  static async open(path: string): Promise<OutputFile> {
    try {
      const existing = await stat(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
      if (existing?.isDirectory()) throw new Error("it is a folder");
      if (existing !== undefined && !existing.isFile()) {
        return new OutputFile(path, undefined, await open(path, "w"));
      }
      // Replace the file that a symbolic link points to, not the link.
      const target = existing === undefined ? path : await realpath(path);
      const temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}.tmp`);
      const file = await open(temporary, "wx", 0o666);
      const output = new OutputFile(target, temporary, file);
      if (existing !== undefined) await file.chmod(existing.mode & 0o777);
      return output;
    } catch (error) {
      throw new WriteFailure(path, error);
    }
  }

  write(data: string): void {
    this.#queued.push(data);
    this.#writing ??= this.#drain();
  }

  /** Resolves when everything is on disk, under the file's name. */
  async commit(): Promise<void> {
    await this.#writing;
    try {
      if (this.#temporary !== undefined) await this.#file.sync();
      await this.#file.close();
      if (this.#temporary !== undefined) await rename(this.#temporary, this.#path);
    } catch (error) {
      throw new WriteFailure(this.#path, error);
    }
    this.#isOver = true;
  }

  /** Deletes what was written, unless it was committed. */
  discard(): void {
    this.#removeTemporary();
  }

  async #drain(): Promise<void> {
    try {
      while (this.#queued.length > 0) {
        const data = this.#queued.join("");
        this.#queued = [];
        await this.#file.writeFile(data);
      }
    } catch (error) {
      throw new WriteFailure(this.#path, error);
    }
    this.#writing = undefined;
  }

  #removeTemporary(): void {
    if (this.#isOver || this.#temporary === undefined) return;
    this.#isOver = true;
    try {
      unlinkSync(this.#temporary);
    } catch {
      // Another process moved or removed it.
    }
  }
}
