import type { Sha256Hex } from "../base/sha256.ts";
import type { Call, CallRequest, CallSink } from "../host/call.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { DeclaredPermissions } from "../manifest/permissions.ts";
import type { ModuleSource } from "../source/module-source.ts";

/**
 * One version of a module that can be called. The registry knows versions only by this interface, so that what
 * runs them can be replaced, by a test for example.
 */
export interface RunnableVersion {
  /** The file name, `hello.ts`. */
  readonly mod: string;
  /** The digest of the file itself, and of everything that the module loads. */
  readonly sum: Sha256Hex;
  readonly tree: Sha256Hex;
  /** Undefined when there is none. From the source, or with `describedBy` "server" from the running module. */
  readonly desc: string | undefined;
  readonly input: Record<string, unknown> | undefined;
  /** What its source declares, in the normal form. */
  readonly permissions: DeclaredPermissions;
  readonly describedBy: Manifest["describedBy"];
  readonly source: ModuleSource;
  /** It asks for a process that is started with the server and stays. */
  readonly isResident: boolean;

  /** Starts a call. Never throws: the sink is given what goes wrong as the outcome. */
  call(request: CallRequest, sink: CallSink): Call;
  /**
   * Starts its process, unless one has loaded before. Rejects with `bad_module` when it does not load; that may be tried
   * again. Does nothing for a version that was replaced or is being stopped.
   */
  prove(): Promise<void>;
  /**
   * Ends its process, because another version needs its ports: calls in flight have `limits.drainMs` to end, others wait
   * until `wake` or `replaced`. Resolves when the process has ended.
   */
  rest(): Promise<void>;
  /** After `rest`: it stays current, and runs again. Does nothing when it is being stopped. */
  wake(): void;
  /** Called once, when another version has become current. It stays callable by its tree until `stop`. */
  replaced(): void;
  /**
   * Takes no new calls. Those in flight have `drainMs` (default 0) to end, then they are aborted. Resolves when no process
   * is left. Idempotent; a later call may shorten the time, never extend it.
   */
  stop(drainMs?: number): Promise<void>;
  stats(): VersionStats;
}

/**
 * Makes a version ready to be called. Rejects with `bad_module` when it does not load, leaving nothing behind.
 * `signal` is aborted when the registry stops and the version is no longer needed.
 */
export type VersionLoader = (source: ModuleSource, signal: AbortSignal) => Promise<RunnableVersion>;

/**
 * Makes a version from its bytes, without a process. Returns undefined when only the running module can describe it.
 * Throws `bad_module` for one that cannot load.
 */
export type VersionLister = (source: ModuleSource) => RunnableVersion | undefined;

/** What an operator sees of a version. Times are milliseconds, over the calls of this version that ended. */
export interface VersionStats {
  readonly mod: string;
  readonly tree: Sha256Hex;
  /** False for a version that was replaced or is being stopped. */
  readonly current: boolean;
  /**
   * `running`: it has a process; `idle`: it has none, the next call starts one; `failing`: its process fails at every
   * start, and is started again after a pause; `stopped`: it no longer takes calls.
   */
  readonly state: "running" | "idle" | "failing" | "stopped";
  /** Undefined while it has no process. */
  readonly pid: number | undefined;
  /** Resident memory of its process; undefined while it has none, or where the system does not report it. */
  readonly memoryBytes: number | undefined;
  readonly calls: number;
  readonly failures: number;
  /** Starts of its process after the first one. */
  readonly restarts: number;
  readonly inFlight: number;
  /** Undefined before the first call has ended. */
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
}
