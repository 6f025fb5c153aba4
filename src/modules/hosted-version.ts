import { type Deadline, deadlines } from "../base/deadlines.ts";
import { VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { Call, CallRequest, CallSink } from "../host/call.ts";
import { tightenLimits } from "../host/module-exports.ts";
import { memoryOf } from "../host/parent/memory-watch.ts";
import type { HostOptions, HostReady } from "../host/parent/module-host.ts";
import { SpareProcess } from "../host/parent/spare-process.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { ModuleSource } from "../source/module-source.ts";
import { CallQueue } from "./call-queue.ts";
import { CallStats } from "./call-stats.ts";
import { HostSupervisor } from "./host-supervisor.ts";
import type { RunnableVersion, VersionStats } from "./module-version.ts";

export interface VersionOptions {
  readonly limits: Readonly<Limits>;
  readonly hosts?: Partial<HostOptions> | undefined;
  /** Where its processes come from, instead of `hosts`: shared by all versions of a server. */
  readonly spares?: SpareProcess;
}

/**
 * Starts a module host with exactly these texts, and resolves when it can be called. Rejects with `bad_module` and a
 * sentence that names the file when it does not load; its process has ended by then.
 */
export async function loadVersion(source: ModuleSource, options: VersionOptions): Promise<HostedVersion> {
  const { limits, spares = new SpareProcess(options.hosts ?? {}) } = options;
  const { manifest } = source;
  if (manifest instanceof VeripyError) throw manifest;
  const supervisor = new HostSupervisor(source, limits, spares);
  const ready = await supervisor.load();
  return new HostedVersion(source, manifest, supervisor, ready, tightenLimits(limits, ready.limits));
}

/** One version of a module in processes of its own: a queue of its calls, and the supervision of the process. */
export class HostedVersion implements RunnableVersion {
  readonly source: ModuleSource;
  readonly #manifest: Manifest;
  readonly #supervisor: HostSupervisor;
  readonly #ready: HostReady;
  readonly #queue: CallQueue;
  readonly #stats = new CallStats();
  #isRetired = false;
  #stopping: PromiseWithResolvers<void> | undefined;
  #stopAt = Number.POSITIVE_INFINITY;
  #stopDeadline: Deadline | undefined;

  /** Use `loadVersion`. `limits` are those of the server and of the module. */
  constructor(
    source: ModuleSource,
    manifest: Manifest,
    supervisor: HostSupervisor,
    ready: HostReady,
    limits: Readonly<Limits>,
  ) {
    this.source = source;
    this.#manifest = manifest;
    this.#supervisor = supervisor;
    this.#ready = ready;
    const queue = new CallQueue(source.mod, limits, supervisor, this.#stats);
    this.#queue = queue;
    supervisor.attach({ changed: () => queue.pump(), failed: (message) => queue.fail(message) });
  }

  get mod(): string {
    return this.source.mod;
  }

  get sum(): Sha256Hex {
    return this.source.sum;
  }

  get tree(): Sha256Hex {
    return this.source.tree;
  }

  get desc(): string | undefined {
    return this.describedBy === "source" ? this.#manifest.description : this.#ready.desc;
  }

  get input(): Record<string, unknown> | undefined {
    return this.describedBy === "source" ? this.#manifest.input : this.#ready.input;
  }

  get permissions(): Manifest["permissions"] {
    return this.#manifest.permissions;
  }

  get describedBy(): Manifest["describedBy"] {
    return this.#manifest.describedBy;
  }

  call(request: CallRequest, sink: CallSink): Call {
    return this.#queue.add(request, sink);
  }

  retire(): void {
    this.#isRetired = true;
  }

  stop(drainMs = 0): Promise<void> {
    if (this.#stopping === undefined) {
      this.#stopping = Promise.withResolvers();
      this.#queue.close(() => this.#end());
    }
    const stopAt = performance.now() + drainMs;
    if (stopAt < this.#stopAt) {
      this.#stopAt = stopAt;
      this.#stopDeadline?.disarm();
      if (drainMs > 0) this.#stopDeadline = deadlines.arm({ expire: () => this.#end() }, drainMs);
      else this.#end();
    }
    return this.#stopping.promise;
  }

  /** Ends what still waits or runs. Idempotent. */
  #end(): void {
    this.#stopAt = Number.NEGATIVE_INFINITY;
    this.#stopDeadline?.disarm();
    this.#queue.clear();
    this.#supervisor.stop().then(this.#stopping?.resolve);
  }

  stats(): VersionStats {
    const pid = this.#supervisor.host?.pid;
    return {
      mod: this.mod,
      tree: this.tree,
      current: !this.#isRetired && this.#stopping === undefined,
      state: this.#state(),
      pid,
      memoryBytes: pid === undefined ? undefined : memoryOf(pid),
      calls: this.#stats.calls,
      failures: this.#stats.failures,
      restarts: this.#supervisor.restarts,
      inFlight: this.#queue.running,
      p50Ms: this.#stats.quantile(0.5),
      p99Ms: this.#stats.quantile(0.99),
    };
  }

  #state(): VersionStats["state"] {
    if (this.#stopping !== undefined) return "stopped";
    if (this.#supervisor.host !== undefined) return "running";
    return this.#supervisor.isFailing ? "failing" : "idle";
  }
}
