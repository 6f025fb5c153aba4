import { type Deadline, deadlines } from "../base/deadlines.ts";
import { detailOf, messageOf } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { type HostReady, ModuleHost } from "../host/parent/module-host.ts";
import { ModuleLogger } from "../host/parent/module-logger.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { HostSource } from "./call-queue.ts";
import { matchManifest } from "./match-manifest.ts";
import type { ResidentProcess } from "./resident-processes.ts";
import { StartFailures } from "./start-failures.ts";
import type { SupervisedModule } from "./supervised-module.ts";

export interface SupervisorEvents {
  /** A process is ready, can take calls again, or has ended. */
  changed(): void;
  /** No process could be started. `message` is a sentence for those who wait for one. */
  failed(message: string): void;
}

/** A process that ends by itself within this time after its start, without having had a call, has failed to start. */
const settledMs = 1_000;
/** How long the process of a replaced version may have no call. */
const replacedIdleMs = 1_000;

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
  #isResting = false;
  #readyAt = 0;
  #idleCheck: Deadline | undefined;
  readonly #failures: StartFailures;
  #stopped: PromiseWithResolvers<void> | undefined;

  constructor(module: SupervisedModule) {
    const { source, limits } = module;
    this.#module = module;
    this.#source = source;
    this.#limits = limits;
    this.#failures = new StartFailures(source.mod);
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
    return this.#isStarting || this.#failures.waitMs === 0 ? undefined : this.#failures.message;
  }

  /** Starts beyond the first one. */
  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /** True when the last start failed and no process lives. */
  get isFailing(): boolean {
    return this.#host === undefined && this.#failures.inARow > 0;
  }

  /** HostSource. */
  start(): void {
    if (this.#host !== undefined || this.#isStarting || this.#isResting || this.#stopped !== undefined)
      return;
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

  /** Between `rest` and `wake` or `replaced`. */
  get isResting(): boolean {
    return this.#isResting;
  }

  /** See `RunnableVersion.rest`. */
  async rest(): Promise<void> {
    this.#isResting = true;
    await this.#lastStart.catch(() => {});
    const host = this.#host;
    if (host === undefined) return;
    host.hold();
    const { drainMs, killGraceMs } = this.#limits;
    const late = Promise.withResolvers<void>();
    const deadline = deadlines.arm({ expire: late.resolve }, drainMs);
    await Promise.race([host.whenIdle(), late.promise]);
    deadline.disarm();
    if (host === this.#host) this.#letGo();
    host.shutDown(`${this.#source.mod} is being replaced.`, killGraceMs);
    await host.exited;
  }

  /** See `RunnableVersion.wake`. */
  wake(): void {
    this.#isResting = false;
    this.#events?.changed();
    this.#stay();
  }

  /** Another version is current: the process ends soon after its last call. */
  replaced(): void {
    this.#isReplaced = true;
    this.#isResting = false;
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
        this.#failures.clear();
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
    this.#failures.add(reason);
    this.#log.say("error", `failed to start (${this.#failures.inARow} in a row): ${detail}`);
    this.#events?.failed(this.#failures.message);
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
    deadlines.arm({ expire: () => this.start() }, this.#failures.waitMs);
  }

  #checkStopped(): void {
    if (this.#hosts.size === 0 && !this.#isStarting) this.#stopped?.resolve();
  }
}
