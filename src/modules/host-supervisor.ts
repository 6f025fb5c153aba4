import { type Deadline, deadlines } from "../base/deadlines.ts";
import { detailOf, messageOf } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import { tightenLimits } from "../host/module-exports.ts";
import { type HostReady, ModuleHost } from "../host/parent/module-host.ts";
import { ModuleLogger } from "../host/parent/module-logger.ts";
import type { SpareProcess } from "../host/parent/spare-process.ts";
import type { ModuleSource } from "../source/module-source.ts";
import type { HostSource } from "./call-queue.ts";

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

/**
 * Keeps a version's process: starts it when it is needed, always from the same texts, and stops it when it is idle. A
 * module that fails at every start is retried after growing pauses.
 */
export class HostSupervisor implements HostSource {
  readonly #source: ModuleSource;
  readonly #spares: SpareProcess;
  readonly #log: ModuleLogger;
  #limits: Readonly<Limits>;
  #events: SupervisorEvents | undefined;

  #host: ModuleHost | undefined;
  /** Every process that lives, including those that are about to end. */
  readonly #hosts = new Set<ModuleHost>();
  #isStarting = false;
  #starts = 0;
  #readyAt = 0;
  #idleCheck: Deadline | undefined;
  /** Starts that failed since the last good one, why the last failed, and when the next may be tried. */
  #failedStarts = 0;
  #lastFailure = "";
  #retryAt = 0;
  #stopped: PromiseWithResolvers<void> | undefined;

  constructor(source: ModuleSource, limits: Readonly<Limits>, spares: SpareProcess) {
    this.#source = source;
    this.#limits = limits;
    this.#spares = spares;
    this.#log = new ModuleLogger(source.mod, source.tree, limits.maxLogLinesPerSecond);
  }

  /**
   * The first start, called once. Resolves with what the module exports besides `execute`, whose limits apply from then
   * on. Rejects with `bad_module`; no process is left then.
   */
  async load(): Promise<HostReady> {
    try {
      const { host, ready } = await this.#startHost();
      this.#limits = tightenLimits(this.#limits, ready.limits);
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
    this.#startHost().then(
      ({ host }) => {
        this.#failedStarts = 0;
        this.#use(host);
      },
      (error) => this.#startFailed(messageOf(error), detailOf(error)),
    );
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

  async #startHost(): Promise<{ host: ModuleHost; ready: HostReady }> {
    this.#isStarting = true;
    this.#starts += 1;
    try {
      const settings = { limits: this.#limits, spares: this.#spares, log: this.#log };
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
      return await host.loaded;
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
      this.#armIdleCheck(this.#limits.idleStopMs);
    }
    this.#events?.changed();
  }

  #hostEnded(host: ModuleHost, reason: string): void {
    this.#hosts.delete(host);
    if (host === this.#host) {
      this.#host = undefined;
      this.#idleCheck?.disarm();
      const isStopping = this.#stopped !== undefined;
      this.#log.say(isStopping ? "debug" : "warn", `ended: ${reason}`);
      const isNew = performance.now() - this.#readyAt < settledMs;
      if (!isStopping && isNew && !host.hasHadCalls) this.#startFailed(reason);
      else this.#events?.changed();
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

  #armIdleCheck(ms: number): void {
    if (this.#limits.idleStopMs > 0) this.#idleCheck = deadlines.arm({ expire: () => this.#stopIdle() }, ms);
  }

  /** Checks once per `idleStopMs` instead of rearming a deadline in every call. */
  #stopIdle(): void {
    const host = this.#host;
    if (host === undefined) return;
    const { idleStopMs, killGraceMs } = this.#limits;
    const { idleMs } = host;
    if (idleMs < idleStopMs) {
      this.#armIdleCheck(idleStopMs - idleMs);
      return;
    }
    this.#host = undefined;
    host.stop(killGraceMs);
  }

  #checkStopped(): void {
    if (this.#hosts.size === 0 && !this.#isStarting) this.#stopped?.resolve();
  }
}
