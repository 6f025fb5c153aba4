import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { messageOf, VeripyError } from "../base/errors.ts";
import { loggerOf } from "../base/log.ts";
import { sha256Hex } from "../base/sha256.ts";
import type {
  CallRecord,
  ModuleChange,
  PeerLabel,
  RequestRecord,
  ServerObserver,
  TrustEdit,
} from "./observer.ts";

const log = loggerOf("audit");

export interface AuditOptions {
  readonly path: string;
  /** Each exec is also written down before it starts, and does not start when that fails. */
  readonly required?: boolean;
  /** The file is put aside as `PATH.1`, `.1` as `.2` and so on, before it would grow past this. */
  readonly maxBytes?: number;
  /** How many files are kept beside the current one. */
  readonly keep?: number;
}

/** Bytes of records that wait for room on the disk; what comes beyond is counted, and the count is a record. */
const maxWaitingBytes = 1024 * 1024;

/**
 * The audit log: one JSON object a line for each connection, refusal, request, change of modules and change of
 * trust. Each line is handed to the operating system before the answer that it speaks of leaves. It has digests
 * and sizes of arguments and results, never their content.
 */
export class AuditLog implements ServerObserver {
  readonly #options: Required<AuditOptions>;
  #file: number;
  #bytes: number;
  /** Lines, or the end of one, that the disk did not take. */
  #waiting = Buffer.alloc(0);
  #lost = 0;
  #trouble: string | undefined;

  /** Throws `bad_config` when the file cannot be opened for appending. */
  constructor(options: AuditOptions) {
    this.#options = { required: false, maxBytes: 64 * 1024 * 1024, keep: 5, ...options };
    try {
      [this.#file, this.#bytes] = openForAppending(options.path);
    } catch (error) {
      throw new VeripyError(
        "bad_config",
        `Cannot write the audit log ${options.path}: ${messageOf(error)}.`,
        {
          cause: error,
        },
      );
    }
  }

  connected(peer: PeerLabel): void {
    this.#write({ event: "connected", ...who(peer) });
  }

  disconnected(peer: PeerLabel, reason: string): void {
    this.#write({ event: "disconnected", ...who(peer), reason });
  }

  refused(refusal: { reason: string; address: string; fingerprint?: string }): void {
    const { reason, address, fingerprint } = refusal;
    this.#write({ event: "refused", reason, address, fingerprint });
  }

  admit({ peer, ref, mod, tree, args }: CallRecord): string | undefined {
    if (!this.#options.required) return undefined;
    this.#write({
      event: "exec_begin",
      ...who(peer),
      ref,
      mod,
      tree,
      ...(args === undefined ? {} : { args: digestOf(args) }),
    });
    if (this.#trouble === undefined) return undefined;
    return `The server must audit every call and cannot: ${this.#trouble}. Nothing was run.`;
  }

  answered({ peer, action, ref, mod, tree, code, durationMs, args, resultJson, parts }: RequestRecord): void {
    this.#write({
      event: action,
      ...who(peer),
      ref,
      mod,
      tree,
      code,
      ms: Math.round(durationMs * 1000) / 1000,
      ...(args === undefined ? {} : { args: digestOf(args) }),
      ...(resultJson === undefined ? {} : { result: digestOf(JSON.parse(resultJson) as string) }),
      ...(parts === undefined || parts === 0 ? {} : { parts }),
    });
  }

  moduleChanged(change: ModuleChange): void {
    if (change.kind === "moderror") this.#write({ event: change.kind, mod: change.mod, error: change.error });
    else {
      const { mod, sum, tree } = change.report;
      this.#write({ event: change.kind, mod, sum, tree });
    }
  }

  trustEdited(edit: TrustEdit): void {
    this.#write({ event: edit.kind, ...who(edit.peer), ...("next" in edit ? { next: edit.next } : {}) });
  }

  trustChanged(change: { readonly keys: number } | { readonly error: string }): void {
    this.#write({ event: "trust", ...change });
  }

  close(): void {
    this.#flush();
    closeSync(this.#file);
  }

  #write(record: object): void {
    const line = Buffer.from(`${JSON.stringify({ time: new Date().toISOString(), ...record })}\n`);
    if (this.#waiting.length + line.length > maxWaitingBytes) this.#lost += 1;
    else this.#waiting = this.#waiting.length === 0 ? line : Buffer.concat([this.#waiting, line]);
    this.#flush();
  }

  #flush(): void {
    try {
      if (this.#bytes > 0 && this.#bytes + this.#waiting.length > this.#options.maxBytes) this.#rotate();
      // A disk that fills up takes part of a line; the rest goes first when there is room again.
      while (this.#waiting.length > 0) {
        const written = writeSync(this.#file, this.#waiting);
        this.#bytes += written;
        this.#waiting = this.#waiting.subarray(written);
      }
    } catch (error) {
      this.#complain(messageOf(error));
      return;
    }
    if (this.#trouble === undefined) return;
    this.#trouble = undefined;
    log.warn("The audit log is written again; {lost} records were lost.", { lost: this.#lost });
    const lost = this.#lost;
    this.#lost = 0;
    if (lost > 0) this.#write({ event: "lost", records: lost });
  }

  #complain(reason: string): void {
    if (this.#trouble === undefined) {
      const effect = this.#options.required
        ? "No module is run until it can be."
        : "Records wait, and may get lost.";
      log.fatal("Cannot write the audit log {path}: {reason}. {effect}", {
        path: this.#options.path,
        reason,
        effect,
      });
    }
    this.#trouble = reason;
  }

  #rotate(): void {
    const { path, keep } = this.#options;
    // Only between lines: a part of one that is waiting belongs to the file that has its beginning.
    if (this.#trouble !== undefined) return;
    for (let index = keep; index >= 1; index--) {
      renameIfThere(index === 1 ? path : `${path}.${index - 1}`, `${path}.${index}`);
    }
    const previous = this.#file;
    [this.#file, this.#bytes] = openForAppending(path);
    closeSync(previous);
  }
}

function openForAppending(path: string): [file: number, bytes: number] {
  const file = openSync(path, "a", 0o600);
  return [file, fstatSync(file).size];
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

function who({ fingerprint, name, address }: PeerLabel): object {
  return { fingerprint, name, address };
}

/** UTF-8 bytes and their SHA-256. */
function digestOf(text: string): object {
  return { bytes: Buffer.byteLength(text), sha256: sha256Hex(text) };
}
