import { type Deadline, deadlines } from "../base/deadlines.ts";
import { VeripyError } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { Call, CallRequest, CallSink } from "../host/call.ts";
import { tightenLimits } from "../host/module-exports.ts";
import { memoryOf } from "../host/parent/memory-watch.ts";
import type { HostOptions, HostReady } from "../host/parent/module-host.ts";
import { SpareProcesses } from "../host/parent/spare-processes.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { ModuleSource } from "../source/module-source.ts";
import { CallQueue } from "./call-queue.ts";
import { CallStats } from "./call-stats.ts";
import { HostSupervisor } from "./host-supervisor.ts";
import type { RunnableVersion, VersionStats } from "./module-version.ts";
import { ResidentProcesses } from "./resident-processes.ts";
import type { SupervisedModule } from "./supervised-module.ts";

export interface VersionOptions {
  readonly limits: Readonly<Limits>;
  readonly hosts?: Partial<HostOptions> | undefined;
  /** Where its processes come from, instead of `hosts`: shared by all versions of a server. */
  readonly spares?: SpareProcesses;
  /** The processes of all versions of a server. Without it, this version has none to share with. */
  readonly residents?: ResidentProcesses;
}

/**
 * A version that has no process yet: the first call, or `prove`, starts it. Returns undefined when only the running module
 * can describe it. Throws `bad_module` when its source shows that it cannot load.
 */
export function listVersion(source: ModuleSource, options: VersionOptions): HostedVersion | undefined {
  const module = superviseModule(source, options);
  const { describedBy, description: desc, input } = module.manifest;
  if (describedBy === "server") return undefined;
  return new HostedVersion(module, new HostSupervisor(module), { desc, input });
}

/**
 * Starts a module host with exactly these texts, and resolves when it can be called. Rejects with `bad_module` and a
 * sentence that names the file when it does not load; its process has ended by then.
 */
export async function loadVersion(source: ModuleSource, options: VersionOptions): Promise<HostedVersion> {
  const module = superviseModule(source, options);
  const supervisor = new HostSupervisor(module);
  return new HostedVersion(module, supervisor, await supervisor.load());
}

function superviseModule(source: ModuleSource, options: VersionOptions): SupervisedModule {
  const { manifest } = source;
  if (manifest instanceof VeripyError) throw manifest;
  const { spares = new SpareProcesses(options.hosts ?? {}), residents = new ResidentProcesses() } = options;
  const limits = tightenLimits(options.limits, manifest.limits);
  return { source, manifest, limits, spares, residents, isResident: asksToStay(manifest) };
}

/** A module that listens must run before anybody calls it. */
function asksToStay({ limits, permissions }: Manifest): boolean {
  return limits.resident === true || (permissions !== "all" && (permissions.listen ?? []).length > 0);
}

/** One version of a module in processes of its own: a queue of its calls, and the supervision of the process. */
export class HostedVersion implements RunnableVersion {
  readonly source: ModuleSource;
  readonly desc: string | undefined;
  readonly input: Record<string, unknown> | undefined;
  readonly isResident: boolean;
  readonly permissions: Manifest["permissions"];
  readonly describedBy: Manifest["describedBy"];
  readonly #supervisor: HostSupervisor;
  readonly #queue: CallQueue;
  readonly #stats = new CallStats();
  #isReplaced = false;
  #stopping: PromiseWithResolvers<void> | undefined;
  #stopAt = Number.POSITIVE_INFINITY;
  #stopDeadline: Deadline | undefined;

  /** Use `listVersion` or `loadVersion`. */
  constructor(
    { source, manifest, limits, isResident }: SupervisedModule,
    supervisor: HostSupervisor,
    { desc, input }: Pick<HostReady, "desc" | "input">,
  ) {
    this.source = source;
    this.desc = desc;
    this.input = input;
    this.isResident = isResident;
    this.permissions = manifest.permissions;
    this.describedBy = manifest.describedBy;
    this.#supervisor = supervisor;
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

  call(request: CallRequest, sink: CallSink): Call {
    return this.#queue.add(request, sink);
  }

  prove(): Promise<void> {
    return this.#supervisor.prove();
  }

  rest(): Promise<void> {
    return this.#supervisor.rest();
  }

  wake(): void {
    this.#supervisor.wake();
  }

  replaced(): void {
    this.#isReplaced = true;
    // A process for them could not listen now.
    if (this.#supervisor.isResting)
      this.#queue.fail(`${this.mod} was replaced while the call waited. Call it again.`, "busy");
    this.#supervisor.replaced();
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
      current: !this.#isReplaced && this.#stopping === undefined,
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
