import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { isSystemError, messageOf } from "../../base/errors.ts";
import { loggerOf } from "../../base/log.ts";
import { printable } from "../../base/printable.ts";

const log = loggerOf("audit");

/** Bytes of records that wait for space on the disk. Further records are lost, and their number becomes a record. */
const maxWaitingBytes = 1024 * 1024;

export interface AuditFileOptions {
  readonly path: string;
  /** The file is renamed to `PATH.1`, `.1` to `.2` and so on, before it would grow past this. */
  readonly maxBytes: number;
  /** How many files are kept besides the current one. */
  readonly keep: number;
  /** The consequence of a failed write, for the server's log. */
  readonly effect: string;
}

/**
 * One JSON object per line, in a file that is rotated. Each line is handed to the operating system before `write`
 * returns. A path that is not a regular file, such as a pipe or `/dev/stdout`, is not rotated.
 */
export class AuditFile {
  readonly #options: AuditFileOptions;
  #file: { readonly descriptor: number; readonly isRegular: boolean; bytes: number } | undefined;
  /** Lines, or the rest of one, that could not be written yet. */
  #waiting = Buffer.alloc(0);
  #lost = 0;
  #trouble: string | undefined;
  #isClosed = false;

  constructor(options: AuditFileOptions) {
    this.#options = options;
  }

  /** Why the last record could not be written; undefined if it was. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Opens the file for appending. Otherwise the first `write` does. Throws a system error. */
  open(): { readonly isRegular: boolean } {
    this.#file ??= openForAppending(this.#options.path);
    return this.#file;
  }

  /** Never throws. Does nothing after `close`. */
  write(record: object): void {
    if (this.#isClosed) return;
    // Clients choose some of the names in it, and people read it on terminals.
    const json = printable(JSON.stringify({ time: new Date().toISOString(), ...record }));
    const line = Buffer.from(`${json}\n`);
    if (this.#waiting.length + line.length > maxWaitingBytes) this.#lost += 1;
    else this.#waiting = this.#waiting.length === 0 ? line : Buffer.concat([this.#waiting, line]);
    this.#flush();
  }

  /** Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    if (this.#waiting.length > 0) this.#flush();
    this.#isClosed = true;
    if (this.#file !== undefined) closeSync(this.#file.descriptor);
    this.#file = undefined;
  }

  #flush(): void {
    try {
      this.open();
      this.#rotateIfFull();
      this.#writeWaiting();
    } catch (error) {
      this.#complain(messageOf(error));
      return;
    }
    if (this.#trouble === undefined) return;
    this.#trouble = undefined;
    log.warn("The audit log can be written again; {lost} records were lost.", {
      path: this.#options.path,
      lost: this.#lost,
    });
    const lost = this.#lost;
    this.#lost = 0;
    if (lost > 0) this.write({ event: "lost", records: lost });
  }

  /** A disk that fills up may take part of a line. The rest is written first when there is space again. */
  #writeWaiting(): void {
    const file = this.#file;
    while (file !== undefined && this.#waiting.length > 0) {
      const written = writeSync(file.descriptor, this.#waiting);
      file.bytes += written;
      this.#waiting = this.#waiting.subarray(written);
    }
  }

  #complain(reason: string): void {
    if (this.#trouble === undefined) {
      const { path, effect } = this.#options;
      log.fatal("Cannot write the audit log {path}: {reason}. {effect}", { path, reason, effect });
    }
    this.#trouble = reason;
  }

  #rotateIfFull(): void {
    const { path, keep, maxBytes } = this.#options;
    const file = this.#file;
    if (file === undefined || !file.isRegular || file.bytes === 0) return;
    if (file.bytes + this.#waiting.length <= maxBytes) return;
    // Only between lines: the rest of a line belongs into the file that has its beginning.
    if (this.#trouble !== undefined) return;
    for (let index = keep; index >= 1; index--) {
      renameIfPresent(index === 1 ? path : `${path}.${index - 1}`, `${path}.${index}`);
    }
    this.#file = openForAppending(path);
    closeSync(file.descriptor);
  }
}

function openForAppending(path: string) {
  const descriptor = openSync(path, "a", 0o600);
  const status = fstatSync(descriptor);
  return { descriptor, isRegular: status.isFile(), bytes: status.size };
}

function renameIfPresent(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!isSystemError(error, "ENOENT")) throw error;
  }
}
