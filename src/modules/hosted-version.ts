import { type Deadline, deadlines } from "../base/deadlines.ts";
import { detailOf, messageOf } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import type { Sha256Hex } from "../base/sha256.ts";
import type { Call, CallRequest, CallSink } from "../host/call.ts";
import { tightenLimits } from "../host/module-exports.ts";
import { memoryOf } from "../host/parent/memory-watch.ts";
import { type HostOptions, type HostReady, ModuleHost } from "../host/parent/module-host.ts";
import { ModuleLog } from "../host/parent/module-log.ts";
import { HostReserve } from "../host/parent/spare-process.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { RunnableVersion, VersionStats } from "./module-version.ts";
import { type CallOwner, VersionCall } from "./queued-call.ts";
import { RunTimes } from "./run-times.ts";

export interface VersionOptions {
  readonly limits: Readonly<Limits>;
  readonly hosts?: Partial<HostOptions> | undefined;
  /** Where its processes come from, instead of `hosts`: shared by all versions of a server. */
  readonly reserve?: HostReserve;
}

/**
 * Starts a module host with exactly these texts and resolves when it is ready to be called. Rejects with
 * `bad_module` and a sentence that names the file when it does not load; by then its process is gone.
 */
export async function loadVersion(source: ModuleSource, options: VersionOptions): Promise<ModuleVersion> {
  const version = new ModuleVersion(source, options);
  await version.load();
  return version;
}

/** A host that ends unasked within this time after a start, without having had a call, has failed to start. */
const settledMs = 1_000;
const firstBackoffMs = 1_000;
const longestBackoffMs = 60_000;

/**
 * One version of a module, kept callable: calls go to its process, wait when that is busy, and get their answers
 * or errors from here. A process that ended is started again for the next call, from the same texts; one that
 * fails at every start is left alone for growing pauses.
 */
export class ModuleVersion implements RunnableVersion, CallOwner {
  readonly source: ModuleSource;
  readonly #reserve: HostReserve;
  readonly #log: ModuleLog;
  #limits: Readonly<Limits>;
  #ready: HostReady = {};

  /** The process that takes new calls. */
  #host: ModuleHost | undefined;
  /** All that live, those included that are on their way out. */
  readonly #hosts = new Set<ModuleHost>();
  #isStarting = false;
  #starts = 0;
  #readyAt = 0;
  #callsOfHost = 0;
  /** Starts that failed since the last that went well, why the last did, and when another may be tried. */
  #failedStarts = 0;
  #failure = "";
  #retryAt = 0;

  readonly #queue = new Set<VersionCall>();
  #queuedArgs = 0;
  #holds = 0;
  #running = 0;

  #calls = 0;
  #failures = 0;
  readonly #runTimes = new RunTimes();
  #lastUsedAt = performance.now();
  #idleCheck: Deadline | undefined;

  #isRetired = false;
  #stopping: PromiseWithResolvers<void> | undefined;
  #forced = false;
  #stopAt = Number.POSITIVE_INFINITY;
  #stopDeadline: Deadline | undefined;

  /** Use `loadVersion`. */
  constructor(source: ModuleSource, options: VersionOptions) {
    this.source = source;
    this.#limits = options.limits;
    this.#reserve = options.reserve ?? new HostReserve(options.hosts ?? {});
    this.#log = new ModuleLog(source.mod, source.tree, options.limits.maxLogLinesPerSecond);
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
    return this.#ready.desc;
  }

  get input(): Record<string, unknown> | undefined {
    return this.#ready.input;
  }

  get killGraceMs(): number {
    return this.#limits.killGraceMs;
  }

  /** The first start: what the module tells of itself counts from here on. */
  async load(): Promise<void> {
    try {
      const { host, ready } = await this.#start();
      this.#ready = ready;
      this.#limits = tightenLimits(this.#limits, ready.limits);
      this.#use(host);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  call(request: CallRequest, sink: CallSink): Call {
    const limits = this.#limits;
    const call = new VersionCall(this, request, sink, Math.min(request.timeoutMs, limits.execMs));
    const host = this.#host;
    if (this.#stopping !== undefined) call.refuse("shutting_down", `${this.mod} is being stopped.`);
    else if (host !== undefined && this.#queue.size === 0 && this.#takesCalls(host))
      this.#run(call, host, false);
    else if (host === undefined && !this.#isStarting && performance.now() < this.#retryAt)
      call.refuse("module_crashed", this.#failingMessage());
    else if (
      // A call that waits only for a process to start takes none of the queue.
      this.#running + this.#queue.size >= limits.maxCallsInFlight + limits.maxCallsQueued ||
      this.#queuedArgs + request.argsJson.length > limits.maxQueuedArgsBytes
    )
      call.refuse(
        "busy",
        `${this.mod} has ${this.#running} calls in flight and ${this.#queue.size} waiting. Try again later.`,
      );
    else {
      this.#queue.add(call);
      this.#queuedArgs += request.argsJson.length;
      this.#wake();
    }
    return call;
  }

  retire(): void {
    this.#isRetired = true;
  }

  stop(drainMs = 0): Promise<void> {
    this.#stopping ??= Promise.withResolvers<void>();
    const stopAt = performance.now() + drainMs;
    if (stopAt < this.#stopAt) {
      this.#stopAt = stopAt;
      this.#stopDeadline?.disarm();
      if (drainMs > 0) this.#stopDeadline = deadlines.arm({ expire: () => this.#force() }, drainMs);
      else this.#force();
    }
    this.#stopIfDone();
    return this.#stopping.promise;
  }

  stats(): VersionStats {
    const pid = this.#host?.pid;
    return {
      mod: this.mod,
      tree: this.tree,
      current: !this.#isRetired && this.#stopping === undefined,
      state: this.#state(),
      pid,
      memoryBytes: pid === undefined ? undefined : memoryOf(pid),
      calls: this.#calls,
      failures: this.#failures,
      restarts: Math.max(0, this.#starts - 1),
      inFlight: this.#running,
      p50Ms: this.#runTimes.quantile(0.5),
      p99Ms: this.#runTimes.quantile(0.99),
    };
  }

  leftQueue(call: VersionCall): void {
    if (this.#queue.delete(call)) this.#queuedArgs -= call.request.argsJson.length;
    this.#stopIfDone();
  }

  answered(call: VersionCall, ok: boolean): void {
    this.#calls += 1;
    if (!ok) this.#failures += 1;
    if (call.ranAt > 0) this.#runTimes.record(performance.now() - call.ranAt);
  }

  ended(_call: VersionCall): void {
    this.#running -= 1;
    if (this.#queue.size > 0) this.#pump();
    if (this.#running > 0) return;
    this.#lastUsedAt = performance.now();
    this.#stopIfDone();
  }

  hold(): void {
    this.#holds += 1;
  }

  release(): void {
    this.#holds -= 1;
    this.#pump();
  }

  /** True when a call may begin in this process now. */
  #takesCalls(host: ModuleHost): boolean {
    return (
      host.isUsable && this.#holds === 0 && host.inFlight < this.#limits.maxCallsInFlight && !host.congested
    );
  }

  #run(call: VersionCall, host: ModuleHost, hasWaited: boolean): void {
    this.#running += 1;
    this.#callsOfHost += 1;
    call.run(host, hasWaited);
  }

  /** Begins waiting calls as far as the process takes them. */
  #pump(): void {
    const host = this.#host;
    if (host === undefined) return;
    for (const call of this.#queue) {
      if (!this.#takesCalls(host)) return;
      this.#queue.delete(call);
      this.#queuedArgs -= call.request.argsJson.length;
      this.#run(call, host, true);
    }
  }

  /** Waiting calls need a process: starts one unless there is one or one is coming. */
  #wake(): void {
    if (this.#host !== undefined || this.#isStarting || this.#queue.size === 0) return;
    this.#start().then(
      ({ host }) => {
        this.#failedStarts = 0;
        this.#use(host);
      },
      (error) => this.#startFailed(messageOf(error), detailOf(error)),
    );
  }

  async #start(): Promise<{ host: ModuleHost; ready: HostReady }> {
    this.#isStarting = true;
    this.#starts += 1;
    try {
      const settings = { limits: this.#limits, reserve: this.#reserve, log: this.#log };
      const host: ModuleHost = await ModuleHost.start(this.source, settings, {
        drained: () => this.#pump(),
        ended: (reason) => this.#hostEnded(host, reason),
      });
      this.#hosts.add(host);
      if (this.#forced) host.stop(0);
      const { loadMs } = this.#limits;
      const late = { expire: () => host.kill(`it did not load within ${loadMs} ms`) };
      const deadline = deadlines.arm(late, loadMs);
      try {
        return { host, ready: await host.loaded };
      } catch (error) {
        host.kill("it did not load");
        throw error;
      } finally {
        deadline.disarm();
      }
    } finally {
      this.#isStarting = false;
    }
  }

  #use(host: ModuleHost): void {
    // It may have ended between its word and this line.
    if (!this.#hosts.has(host)) {
      this.#wake();
      return;
    }
    this.#host = host;
    this.#readyAt = performance.now();
    this.#lastUsedAt = this.#readyAt;
    this.#callsOfHost = 0;
    this.#armIdleCheck(this.#limits.idleStopMs);
    this.#pump();
    this.#stopIfDone();
  }

  #hostEnded(host: ModuleHost, reason: string): void {
    this.#hosts.delete(host);
    if (host === this.#host) {
      this.#host = undefined;
      this.#idleCheck?.disarm();
      this.#log.say(this.#stopping === undefined ? "warn" : "debug", `ended: ${reason}`);
      const isNew = performance.now() - this.#readyAt < settledMs;
      // A host that was told to end has not failed, however young it is.
      if (this.#stopping === undefined && isNew && this.#callsOfHost === 0) this.#startFailed(reason);
      else this.#wake();
    }
    this.#stopIfDone();
  }

  #startFailed(reason: string, detail = reason): void {
    this.#failedStarts += 1;
    this.#failure = /[.!?]$/.test(reason) ? reason : `${reason}.`;
    const backoffMs = Math.min(firstBackoffMs * 2 ** (this.#failedStarts - 1), longestBackoffMs);
    this.#retryAt = performance.now() + backoffMs;
    this.#log.say("error", `is failing, ${this.#failedStarts} starts in a row: ${detail}`);
    for (const call of [...this.#queue]) {
      this.leftQueue(call);
      call.refuse("module_crashed", this.#failingMessage());
    }
    this.#stopIfDone();
  }

  #failingMessage(): string {
    const seconds = Math.max(1, Math.ceil((this.#retryAt - performance.now()) / 1000));
    return `${this.mod} does not start: ${this.#failure} The next attempt is made in ${seconds} s at the earliest.`;
  }

  #state(): VersionStats["state"] {
    if (this.#stopping !== undefined) return "stopped";
    if (this.#host !== undefined) return "running";
    return this.#failedStarts > 0 ? "failing" : "idle";
  }

  #armIdleCheck(ms: number): void {
    if (this.#limits.idleStopMs > 0) this.#idleCheck = deadlines.arm({ expire: () => this.#stopIdle() }, ms);
  }

  /** Looks only now and then, so that a call pays nothing for it. */
  #stopIdle(): void {
    const host = this.#host;
    if (host === undefined) return;
    const idleMs = this.#running > 0 ? 0 : performance.now() - this.#lastUsedAt;
    if (idleMs < this.#limits.idleStopMs) {
      this.#armIdleCheck(this.#limits.idleStopMs - idleMs);
      return;
    }
    this.#host = undefined;
    host.stop(this.killGraceMs);
  }

  #force(): void {
    this.#forced = true;
    for (const call of [...this.#queue]) {
      this.leftQueue(call);
      call.refuse("shutting_down", `${this.mod} is being stopped.`);
    }
    for (const host of this.#hosts) host.shutDown(`${this.mod} is being stopped.`, this.killGraceMs);
  }

  /** The end of a stop: nothing runs, nothing waits, no process lives. */
  #stopIfDone(): void {
    if (this.#stopping === undefined) return;
    if (!this.#forced && this.#running === 0 && this.#queue.size === 0 && !this.#isStarting) this.#force();
    if (this.#hosts.size > 0 || this.#isStarting) return;
    this.#stopDeadline?.disarm();
    this.#stopping.resolve();
  }
}
