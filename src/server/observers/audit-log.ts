import { VeripyError } from "../../base/errors.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import { bulkSha256Hex } from "../../base/sha256.ts";
import type { ModuleChange } from "../../modules/module-slot.ts";
import { ipOf, networkOf } from "../../tls/address.ts";
import { AuditFile } from "./audit-file.ts";
import type {
  CallRecord,
  CatalogueChange,
  ClientLabel,
  PeerLabel,
  RefusedConnection,
  RequestRecord,
  ServerObserver,
  ServerStart,
  TrustChange,
  TrustEdit,
} from "./observer.ts";
import { SimilarRecords } from "./similar-records.ts";

export interface AuditOptions {
  readonly path: string;
  /** Each exec is also recorded before it starts, and does not start when that fails. */
  readonly required?: boolean;
  /** A file is renamed to `PATH.1`, `.1` to `.2` and so on, before it would grow past this. */
  readonly maxBytes?: number;
  /** How many files are kept besides the current one. */
  readonly keep?: number;
}

/**
 * The audit log: one JSON object per line, each written before the answer to its request is sent. It has digests and
 * sizes of arguments and results, never their content.
 *
 * `PATH` has what clients with permission to run modules did, and every change of modules and of trust. `PATH.refused`
 * has the rest: refused connections, forbidden requests, and everything from clients that may run nothing. It is rotated
 * separately, so that no flood can push a record out of `PATH`, and floods are shortened; see `SimilarRecords`.
 */
export class AuditLog implements ServerObserver {
  readonly #required: boolean;
  readonly #main: AuditFile;
  readonly #refused: AuditFile;
  readonly #similar: SimilarRecords;

  /** Throws `bad_config` when the file cannot be opened for appending. `PATH.refused` is created when needed. */
  constructor({ path, required = false, maxBytes = 64 * 1024 * 1024, keep = 5 }: AuditOptions) {
    this.#required = required;
    const whenRequired = "No module runs until it can be written.";
    const effect = "Records are kept for now, and may be lost.";
    this.#main = new AuditFile({ path, maxBytes, keep, effect: required ? whenRequired : effect });
    try {
      const { isRegular } = this.#main.open();
      // A pipe or a terminal is not rotated, and has no place for a second file.
      this.#refused = isRegular
        ? new AuditFile({ path: `${path}.refused`, maxBytes, keep, effect })
        : this.#main;
    } catch (cause) {
      throw new VeripyError("bad_config", `Cannot write the audit log ${path}: ${reasonOf(cause)}.`, {
        cause,
      });
    }
    this.#similar = new SimilarRecords((record) => this.#refused.write(record));
  }

  starting({ sandbox }: ServerStart): void {
    this.#write({ event: "start", sandbox });
  }

  connected(peer: ClientLabel): void {
    this.#ofClient(peer, { event: "connected" }, () => ({ event: "connected", ...who(peer) }));
  }

  disconnected(peer: ClientLabel, reason: string): void {
    const record = () => ({ event: "disconnected", ...who(peer), reason });
    this.#ofClient(peer, { event: "disconnected" }, record);
  }

  refused({ reason, address, fingerprint }: RefusedConnection): void {
    const network = networkOf(ipOf(address));
    const record = () => ({ event: "refused", reason, address, fingerprint });
    this.#similar.add({ event: "refused", reason }, { network }, record);
  }

  admit({ peer, ref, mod, tree, args }: CallRecord): string | undefined {
    if (!this.#required) return undefined;
    this.#write({
      event: "exec_begin",
      ...who(peer),
      ref,
      mod,
      tree,
      ...(args === undefined ? {} : { args: digestOf(args) }),
    });
    if (this.#main.trouble === undefined) return undefined;
    return `The server must audit every call but cannot write its audit log: ${this.#main.trouble}. Nothing was run.`;
  }

  answered(request: RequestRecord): void {
    const { peer, action, tree, code } = request;
    const record = () => requestRecord(request);
    // With a tree, a module was called, even if its client has lost the permission since.
    if (action === "exec" && tree !== undefined) this.#write(record());
    else this.#ofClient(code === "forbidden" ? unentitled(peer) : peer, { event: action, code }, record);
  }

  moduleChanged(change: ModuleChange): void {
    if (change.kind === "moderror")
      this.#write({ event: change.kind, mod: change.mod, error: change.detail });
    else {
      const { mod, sum, tree } = change.report;
      this.#write({ event: change.kind, mod, sum, tree });
    }
  }

  trustEdited(edit: TrustEdit): void {
    this.#write({ event: edit.kind, ...who(edit.peer), ...("next" in edit ? { next: edit.next } : {}) });
  }

  trustChanged(change: TrustChange): void {
    this.#write({ event: "trust", ...change });
  }

  catalogueChanged(change: CatalogueChange): void {
    this.#write({ event: "catalogue", ...change });
  }

  /** Later records are not written. Idempotent. */
  close(): void {
    this.#similar.flush();
    this.#refused.close();
    this.#main.close();
  }

  #write(record: object): void {
    this.#main.write(record);
  }

  #ofClient({ mayRun, fingerprint, name }: ClientLabel, what: object, record: () => object): void {
    if (mayRun) this.#write(record());
    else this.#similar.add(what, { fingerprint, name }, record);
  }
}

function unentitled({ fingerprint, name, address }: PeerLabel): ClientLabel {
  return { fingerprint, name, address, mayRun: false };
}

function requestRecord(request: RequestRecord): object {
  const { peer, action, ref, mod, tree, code, durationMs, args, resultJson, parts } = request;
  return {
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
  };
}

function who({ fingerprint, name, address }: PeerLabel): object {
  return { fingerprint, name, address };
}

/** UTF-8 bytes and their SHA-256. */
function digestOf(text: string): object {
  return { bytes: Buffer.byteLength(text), sha256: bulkSha256Hex(text) };
}
