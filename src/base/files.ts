import { randomUUID } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isSystemError, VeripyError } from "./errors.ts";
import { decodeUtf8 } from "./utf8.ts";

/**
 * Replaces the file at `path`, or leaves it unchanged: writes a temporary file beside it, flushes that to disk, renames
 * it over `path`, and flushes the directory. `mode` is the new file's mode, further restricted by the umask.
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
  try {
    const file = await open(temporary, "wx", mode);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await flushDirectory(dirname(path));
}

/** Best effort: not every platform or file system can flush a directory. */
export async function flushDirectory(path: string): Promise<void> {
  let directory: FileHandle | undefined;
  try {
    directory = await open(path, "r");
    await directory.sync();
  } catch {
    // The rename has happened. Whether it survives a power failure is up to the file system.
  } finally {
    await directory?.close();
  }
}

/**
 * Reads a whole file of at most `maxBytes`. The size is checked on the open file and again while reading, so that a
 * growing file can't exceed it. Rejects with `too_large`, `bad_config` for anything but a regular file, or the system error.
 */
export async function readFileBounded(path: string, maxBytes: number): Promise<Uint8Array> {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer that never comes.
  const file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    // Synchronous, because handing four calls to another thread costs seven times as much as a small file takes to read.
    const status = fstatSync(file);
    if (!status.isFile())
      throw new VeripyError("bad_config", `Cannot read ${path}: it is not a regular file.`);
    const bytes = Buffer.alloc(Math.min(status.size, maxBytes) + 1);
    let length = 0;
    while (length < bytes.length) {
      const bytesRead = readSync(file, bytes, length, bytes.length - length, length);
      length += bytesRead;
      // A file of the expected size ends here, because there was room for more. Other files are read to their end.
      if (bytesRead === 0 || (length === status.size && length < bytes.length))
        return bytes.subarray(0, length);
    }
    throw new VeripyError("too_large", `Cannot read ${path}: it has more than ${maxBytes} bytes.`);
  } finally {
    closeSync(file);
  }
}

/** The text of a file; undefined when it does not exist. Throws other system errors. */
export async function readTextIfThere(path: string, maxBytes: number): Promise<string | undefined> {
  try {
    return decodeUtf8(await readFileBounded(path, maxBytes));
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Whether the path exists. Throws the system error when that can't be determined. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return false;
    throw error;
  }
}
