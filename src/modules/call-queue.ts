import type { WireCode } from "../base/errors.ts";
import type { Limits } from "../base/limits.ts";
import type { CallRequest, CallSink } from "../host/call.ts";
import type { ModuleHost } from "../host/parent/module-host.ts";
import type { CallStats } from "./call-stats.ts";
import { type CallOwner, QueuedCall } from "./queued-call.ts";

/** Where a queue gets the process for its calls; `HostSupervisor` outside of tests. */
export interface HostSource {
  /** The process that new calls go to; undefined while there is none. */
  readonly host: ModuleHost | undefined;
  /** Why no process is started for the time being, as a sentence; undefined when `start` would start one. */
  readonly failure: string | undefined;
  /** Starts a process if there is none. `CallQueue.pump` is called when it is ready. */
  start(): void;
}

export type QueueLimits = Pick<
  Limits,
  "execMs" | "killGraceMs" | "maxCallsInFlight" | "maxCallsQueued" | "maxQueuedArgsBytes"
>;

/**
 * The calls of one version: those that wait, in order, and those that run. A call runs as soon as the process takes it,
 * and is refused when too many wait. How a process comes to be, and what becomes of it, is not known here.
 */
export class CallQueue implements CallOwner {
  readonly mod: string;
  readonly killGraceMs: number;
  readonly stats: CallStats;
  readonly #limits: Readonly<QueueLimits>;
  readonly #hosts: HostSource;
  readonly #waiting = new Set<QueuedCall>();
  #waitingArgs = 0;
  #running = 0;
  #isClosed = false;
  #onEmpty: (() => void) | undefined;

  constructor(mod: string, limits: Readonly<QueueLimits>, hosts: HostSource, stats: CallStats) {
    this.mod = mod;
    this.killGraceMs = limits.killGraceMs;
    this.stats = stats;
    this.#limits = limits;
    this.#hosts = hosts;
  }

  /** Calls in a process, including those whose client already has an answer. */
  get running(): number {
    return this.#running;
  }

  add(request: CallRequest, sink: CallSink): QueuedCall {
    const call = new QueuedCall(this, request, sink, Math.min(request.timeoutMs, this.#limits.execMs));
    const { host } = this.#hosts;
    if (this.#isClosed) call.refuse("shutting_down", this.#stopMessage);
    else if (host !== undefined && this.#waiting.size === 0 && this.#hasRoom(host))
      this.#run(call, host, false);
    else {
      const failure = host === undefined ? this.#hosts.failure : undefined;
      if (failure !== undefined) call.refuse("module_crashed", failure);
      else if (this.#isFull(request)) call.refuse("busy", this.#busyMessage);
      else this.#enqueue(call);
    }
    return call;
  }

  /** Starts waiting calls as far as the process takes them; starts a process if there is none. */
  pump(): void {
    if (this.#waiting.size === 0) return;
    const { host } = this.#hosts;
    if (host === undefined) {
      this.#hosts.start();
      return;
    }
    for (const call of this.#waiting) {
      if (!this.#hasRoom(host)) return;
      this.#remove(call);
      this.#run(call, host, true);
    }
  }

  /** Refuses the waiting calls: there is no process for them. */
  fail(message: string, code: WireCode = "module_crashed"): void {
    for (const call of [...this.#waiting]) {
      this.#remove(call);
      call.refuse(code, message);
    }
    this.#checkEmpty();
  }

  /** Refuses new calls. Those that wait still run; `onEmpty` is called when none waits and none runs. */
  close(onEmpty: () => void): void {
    this.#isClosed = true;
    this.#onEmpty = onEmpty;
    this.#checkEmpty();
  }

  /** Refuses the waiting calls, after `close`. */
  clear(): void {
    for (const call of [...this.#waiting]) {
      this.#remove(call);
      call.refuse("shutting_down", this.#stopMessage);
    }
  }

  /** CallOwner. */
  left(call: QueuedCall): void {
    if (this.#waiting.has(call)) this.#remove(call);
    else {
      this.#running -= 1;
      this.pump();
    }
    this.#checkEmpty();
  }

  #hasRoom(host: ModuleHost): boolean {
    return host.takesCalls && host.inFlight < this.#limits.maxCallsInFlight;
  }

  #isFull({ argsJson }: CallRequest): boolean {
    const { maxCallsInFlight, maxCallsQueued, maxQueuedArgsBytes } = this.#limits;
    // Counted together, because a call that waits only for a process to start needs no place in the queue.
    if (this.#running + this.#waiting.size >= maxCallsInFlight + maxCallsQueued) return true;
    return this.#waitingArgs + argsJson.length > maxQueuedArgsBytes;
  }

  #enqueue(call: QueuedCall): void {
    this.#waiting.add(call);
    this.#waitingArgs += call.request.argsJson.length;
    if (this.#hosts.host === undefined) this.#hosts.start();
  }

  #remove(call: QueuedCall): void {
    this.#waiting.delete(call);
    this.#waitingArgs -= call.request.argsJson.length;
  }

  #run(call: QueuedCall, host: ModuleHost, hasWaited: boolean): void {
    this.#running += 1;
    call.run(host, hasWaited);
  }

  #checkEmpty(): void {
    if (this.#isClosed && this.#running === 0 && this.#waiting.size === 0) this.#onEmpty?.();
  }

  get #stopMessage(): string {
    return `${this.mod} is being stopped.`;
  }

  get #busyMessage(): string {
    return `${this.mod} has ${this.#running} calls in flight and ${this.#waiting.size} waiting. Try again later.`;
  }
}
