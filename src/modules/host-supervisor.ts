import { type Deadline, deadlines } from "../base/deadlines.ts";
import { detailOf, messageOf } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { type HostReady, ModuleHost } from "../host/parent/module-host.ts";
import { ModuleLogger } from "../host/parent/module-logger.ts";
import type { SpareProcesses } from "../host/parent/spare-processes.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { HostSource } from "./call-queue.ts";
import { matchManifest } from "./match-manifest.ts";
import type { ResidentProcess, ResidentProcesses } from "./resident-processes.ts";

export interface SupervisorEvents {
  /** A process is ready, can take calls again, or has ended. */
  changed(): void;
  /** No process could be started. `message` is a sentence for those who wait for one. */
  failed(message: string): void;
}

/** A process that ends by itself within this time after its start, without having had a call, has failed to start. */
const settledMs = 1_000;
const firstBackoffMs = 1_000;
const longestBackoffMs = 60_000;
/** How long the process of a replaced version may have no call. */
const replacedIdleMs = 1_000;

/** What a supervisor starts, and with what. */
export interface SupervisedModule {
  readonly source: ModuleSource;
  readonly manifest: Manifest;
  /** Those of the server and of the module. */
  readonly limits: Readonly<Limits>;
  readonly spares: SpareProcesses;
  readonly residents: ResidentProcesses;
  /** Its process is never ended for being idle, and started again when it ends. */
  readonly isResident: boolean;
}

/**
 * Keeps a version's process: starts it when it is needed, always from the same texts, and stops it when it is idle. A
 * module that fails at every start is retried after growing pauses.
 */
export class HostSupervisor implements HostSource, ResidentProcess {
  readonly #module: SupervisedModule;
  readonly #source: ModuleSource;
  readonly #limits: Readonly<Limits>;
  readonly #log: ModuleLogger;
  #events: SupervisorEvents | undefined;

  #host: ModuleHost | undefined;
  /** Every process that lives, including those that are about to end. */
  readonly #hosts = new Set<ModuleHost>();
  #isStarting = false;
  /** The last start that `start` or `prove` has made. */
  #lastStart: Promise<void> = Promise.resolve();
  #starts = 0;
  /** A process has been ready. */
  #hasLoaded = false;
  #isReplaced = false;
  #readyAt = 0;
  #idleCheck: Deadline | undefined;
  /** Starts that failed since the last good one, why the last failed, and when the next may be tried. */
  #failedStarts = 0;
  #lastFailure = "";
  #retryAt = 0;
  #stopped: PromiseWithResolvers<void> | undefined;

  constructor(module: SupervisedModule) {
    const { source, limits } = module;
    this.#module = module;
    this.#source = source;
    this.#limits = limits;
    this.#log = new ModuleLogger(source.mod, source.tree, limits.maxLogLinesPerSecond);
  }

  /**
   * The first start, called once. Resolves with what the module exports besides `execute`. Rejects with `bad_module`; no
   * process is left then.
   */
  async load(): Promise<HostReady> {
    try {
      const { host, ready } = await this.#startHost(true);
      this.#use(host);
      return ready;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Sets who is told of what happens from now on. */
  attach(events: SupervisorEvents): void {
    this.#events = events;
  }

  /** HostSource. */
  get host(): ModuleHost | undefined {
    return this.#host;
  }

  /** HostSource. */
  get failure(): string | undefined {
    return this.#isStarting || performance.now() >= this.#retryAt ? undefined : this.#failureMessage();
  }

  /** Starts beyond the first one. */
  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /** True when the last start failed and no process lives. */
  get isFailing(): boolean {
    return this.#host === undefined && this.#failedStarts > 0;
  }

  /** HostSource. */
  start(): void {
    if (this.#host !== undefined || this.#isStarting || this.#stopped !== undefined) return;
    // The failure has been told when this rejects.
    this.#begin(true).catch(() => {});
  }

  /** See `RunnableVersion.prove`. */
  async prove(): Promise<void> {
    if (this.#hasLoaded || this.#isReplaced || this.#stopped !== undefined) return;
    await (this.#isStarting ? this.#lastStart : this.#begin(false));
    // It has not been called, so it must not displace a process that has.
    if (this.#module.residents.isFull && this.#host?.hasHadCalls === false) this.endIdle();
  }

  /** Another version is current: the process ends soon after its last call. */
  replaced(): void {
    this.#isReplaced = true;
    this.#armIdleCheck();
  }

  /**
   * Ends every process: calls are aborted, and what has not ended within `limits.killGraceMs` is killed. No more are
   * started. Resolves when none is left. Idempotent.
   */
  stop(): Promise<void> {
    if (this.#stopped === undefined) {
      this.#stopped = Promise.withResolvers();
      const { mod } = this.#source;
      for (const host of this.#hosts) host.shutDown(`${mod} is being stopped.`, this.#limits.killGraceMs);
      this.#checkStopped();
    }
    return this.#stopped.promise;
  }

  async #begin(isAwaited: boolean): Promise<void> {
    this.#lastStart = this.#startHost(isAwaited).then(
      ({ host }) => {
        this.#failedStarts = 0;
        this.#use(host);
      },
      (error) => {
        this.#startFailed(messageOf(error), detailOf(error));
        throw error;
      },
    );
    return this.#lastStart;
  }

  async #startHost(isAwaited: boolean): Promise<{ host: ModuleHost; ready: HostReady }> {
    this.#isStarting = true;
    this.#starts += 1;
    try {
      const settings = { limits: this.#limits, spares: this.#module.spares, log: this.#log, isAwaited };
      const host: ModuleHost = await ModuleHost.start(this.#source, settings, {
        available: () => this.#events?.changed(),
        ended: (reason) => this.#hostEnded(host, reason),
      });
      this.#hosts.add(host);
      if (this.#stopped !== undefined) host.stop(0);
      return { host, ready: await this.#loaded(host) };
    } finally {
      this.#isStarting = false;
      this.#checkStopped();
    }
  }

  async #loaded(host: ModuleHost): Promise<HostReady> {
    const { loadMs } = this.#limits;
    const late = { expire: () => host.kill(`it did not load within ${loadMs} ms`) };
    const deadline = deadlines.arm(late, loadMs);
    try {
      const ready = await host.loaded;
      matchManifest(this.#source.mod, this.#module.manifest, ready);
      this.#hasLoaded = true;
      return ready;
    } catch (error) {
      host.kill("it did not load");
      throw error;
    } finally {
      deadline.disarm();
    }
  }

  #use(host: ModuleHost): void {
    // It may have ended in the moment after it was ready.
    if (this.#hosts.has(host)) {
      this.#host = host;
      this.#readyAt = performance.now();
      this.#armIdleCheck();
      if (!this.#stays) this.#module.residents.add(this);
    }
    this.#events?.changed();
  }

  #hostEnded(host: ModuleHost, reason: string): void {
    this.#hosts.delete(host);
    if (host === this.#host) {
      this.#letGo();
      const isStopping = this.#stopped !== undefined;
      this.#log.say(isStopping ? "debug" : "warn", `ended: ${reason}`);
      const isNew = performance.now() - this.#readyAt < settledMs;
      if (!isStopping && isNew && !host.hasHadCalls) this.#startFailed(reason);
      else this.#events?.changed();
      this.#stay();
    }
    this.#checkStopped();
  }

  #startFailed(reason: string, detail = reason): void {
    this.#failedStarts += 1;
    this.#lastFailure = /[.!?]$/.test(reason) ? reason : `${reason}.`;
    const backoffMs = Math.min(firstBackoffMs * 2 ** (this.#failedStarts - 1), longestBackoffMs);
    this.#retryAt = performance.now() + backoffMs;
    this.#log.say("error", `failed to start (${this.#failedStarts} in a row): ${detail}`);
    this.#events?.failed(this.#failureMessage());
  }

  #failureMessage(): string {
    const seconds = Math.max(1, Math.ceil((this.#retryAt - performance.now()) / 1000));
    return `${this.#source.mod} does not start: ${this.#lastFailure} It can be tried again in ${seconds} s.`;
  }

  get #stays(): boolean {
    return this.#module.isResident && !this.#isReplaced;
  }

  /** How long the process may have no call; infinite when that does not matter. */
  get #idleStopMs(): number {
    if (this.#stays) return Number.POSITIVE_INFINITY;
    const idleStopMs = this.#limits.idleStopMs || Number.POSITIVE_INFINITY;
    return this.#isReplaced ? Math.min(replacedIdleMs, idleStopMs) : idleStopMs;
  }

  #armIdleCheck(): void {
    this.#idleCheck?.disarm();
    const ms = this.#idleStopMs - this.idleMs;
    if (this.#host !== undefined && Number.isFinite(ms))
      this.#idleCheck = deadlines.arm({ expire: () => this.#checkIdle() }, ms);
  }

  /** Checks once per `idleStopMs` instead of rearming a deadline in every call. */
  #checkIdle(): void {
    if (this.idleMs >= this.#idleStopMs) this.endIdle();
    else this.#armIdleCheck();
  }

  /** ResidentProcess. */
  get idleMs(): number {
    return this.#host?.idleMs ?? 0;
  }

  /** ResidentProcess. */
  endIdle(): void {
    const host = this.#host;
    this.#letGo();
    host?.stop(this.#limits.killGraceMs);
  }

  /** The process takes no more calls. */
  #letGo(): void {
    this.#host = undefined;
    this.#idleCheck?.disarm();
    this.#module.residents.delete(this);
  }

  /** Starts the process of a resident module again, not before it may be tried again. */
  #stay(): void {
    if (!this.#stays || this.#stopped !== undefined) return;
    const waitMs = Math.max(0, this.#retryAt - performance.now());
    deadlines.arm({ expire: () => this.start() }, waitMs);
  }

  #checkStopped(): void {
    if (this.#hosts.size === 0 && !this.#isStarting) this.#stopped?.resolve();
  }
}
