import { messageOf, VeripyError, type WireCode } from "../../base/errors.ts";
import type { Limits } from "../../base/limits.ts";
import { encodeFrame } from "../../protocol/frame.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import type { CallClient, CallRequest } from "../call.ts";
import { encodeAbort, encodeClient, encodeCredit, encodeExec } from "../call-codec.ts";
import type { LogLevel } from "../protocol.ts";
import { withoutRoot } from "../public-text.ts";
import { CallRefs } from "./call-refs.ts";
import { ClientNumbers } from "./client-numbers.ts";
import type { CallEvents, HostEvents } from "./host-events.ts";
import { HostMessageReader, type HostMessages, unexpected } from "./host-messages.ts";
import { congestedBytes, loadPayload, maxQueuedBytes } from "./load-payload.ts";
import { memoryWatch, type WatchedProcess } from "./memory-watch.ts";
import type { ModuleLogger } from "./module-logger.ts";
import type { HostReady } from "./payloads.ts";
import type { HostProcess, OnLine } from "./process.ts";
import type { SpareProcesses } from "./spare-processes.ts";

export type { HostOptions } from "./command.ts";
export type { HostReady } from "./payloads.ts";

export interface HostSettings {
  readonly spares: SpareProcesses;
  readonly limits: Readonly<Limits>;
  readonly log: ModuleLogger;
  /** Whether a call or an edit waits for the process, so that it may take a spare one. */
  readonly isAwaited: boolean;
}

/**
 * The server's side of one module host: one process with one version of a module. What the process sends is not
 * trusted: anything unexpected ends it, and its calls fail with `module_crashed`.
 */
export class ModuleHost implements WatchedProcess, HostMessages {
  readonly #mod: string;
  readonly #root: string;
  readonly #process: HostProcess;
  readonly #events: HostEvents;
  readonly #logger: ModuleLogger;
  readonly #reader: HostMessageReader;
  readonly #clients = new ClientNumbers();
  readonly #calls = new CallRefs<CallEvents>();
  readonly #limits: Readonly<Limits>;
  readonly #loading = Promise.withResolvers<HostReady>();
  #isReady = false;
  #isEnding = false;
  #holds = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #hasHadCalls = false;
  #idleSince = performance.now();

  /** Starts a process and has it load `source`; `loaded` tells the outcome. Throws `bad_module`. */
  static async start(source: ModuleSource, settings: HostSettings, events: HostEvents): Promise<ModuleHost> {
    const { limits, spares, log, isAwaited } = settings;
    const onLine: OnLine = (level, text) => log.line(level, text);
    const maxBytes = maxQueuedBytes(limits);
    const child = await (isAwaited
      ? spares.take(source, maxBytes, onLine)
      : spares.start(source, maxBytes, onLine));
    return new ModuleHost(child, source, settings, events);
  }

  private constructor(child: HostProcess, source: ModuleSource, settings: HostSettings, events: HostEvents) {
    const { limits, log } = settings;
    this.#mod = source.mod;
    this.#root = source.root;
    this.#process = child;
    this.#events = events;
    this.#limits = limits;
    this.#logger = log;
    this.#reader = new HostMessageReader(limits, this);
    child.onEnd((reason) => this.#ended(reason));
    child.duplex.attach({
      data: (chunk) => this.#received(chunk),
      drained: () => this.#events.available(),
      closed: () => child.channelClosed(),
    });
    this.#send("load", JSON.stringify(loadPayload(source, limits, child.isSandboxed)));
    memoryWatch.add(this);
  }

  /** What the module exports besides `execute`. Rejects with `bad_module` and the reason when it does not load. */
  get loaded(): Promise<HostReady> {
    return this.#loading.promise;
  }

  /**
   * True when a call may be started now: the module has loaded, the process is not about to end, and it reads what is
   * sent to it. How many calls it may have is for the caller to limit, see `inFlight`.
   */
  get takesCalls(): boolean {
    return this.#isReady && !this.#isEnding && this.#holds === 0 && !this.#isCongested;
  }

  get #isCongested(): boolean {
    return this.#process.duplex.queuedBytes > congestedBytes;
  }

  get pid(): number {
    return this.#process.pid;
  }

  get maxMemoryBytes(): number {
    return this.#limits.maxModuleMemoryBytes;
  }

  get busy(): boolean {
    return this.#calls.size > 0 || !this.#isReady;
  }

  /** Calls that the process has not ended yet, including those whose client already has an answer. */
  get inFlight(): number {
    return this.#calls.size;
  }

  get hasHadCalls(): boolean {
    return this.#hasHadCalls;
  }

  /** How long it has had no call; 0 while it has one. */
  get idleMs(): number {
    return this.#calls.size > 0 ? 0 : performance.now() - this.#idleSince;
  }

  /** Resolves when it has no call, or has ended. */
  whenIdle(): Promise<void> {
    if (this.#calls.size === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers();
    return this.#idle.promise;
  }

  /** Resolves when its process has exited, and its ports are free. */
  get exited(): Promise<void> {
    return this.#process.exited;
  }

  /** Starts a call, and returns its reference for `abort` and `credit`. */
  exec({ argsJson, client, ref: clientRef }: CallRequest, call: CallEvents): number {
    this.#hasHadCalls = true;
    const ref = this.#calls.add(call);
    const number = this.#clients.numberOf(client, this.#announce);
    // The only call is sent at once. Among others it waits for the end of the turn, so that the process wakes up once.
    this.#process.duplex.write(encodeExec(ref, argsJson, number, clientRef), this.#calls.size > 1);
    return ref;
  }

  readonly #announce = (number: number, client: CallClient): void => {
    this.#process.duplex.write(encodeClient(number, client));
  };

  /** Aborts the module's signal. At most once for each call, and before its end. */
  abort(ref: number, reason: string): void {
    this.#calls.abort(ref);
    this.#process.duplex.write(encodeAbort(ref, reason));
  }

  /** The call may send `parts` more parts. */
  credit(ref: number, parts: number): void {
    this.#process.duplex.write(encodeCredit(ref, parts));
  }

  /** No call is started until a `release` for each `hold`: the process may have to be killed. */
  hold(): void {
    this.#holds += 1;
  }

  release(): void {
    this.#holds -= 1;
    this.#events.available();
  }

  /** Kills the process and everything it has started. The first reason stands. Idempotent. */
  kill(reason: string): void {
    this.#isEnding = true;
    this.#process.kill(reason);
  }

  /** Asks the process to end when its calls have, and kills it after `graceMs`. Idempotent. */
  stop(graceMs: number): void {
    this.#isEnding = true;
    this.#send("stop", "{}");
    this.#process.expectEnd(graceMs);
  }

  /** Aborts its calls, then as `stop`. */
  shutDown(message: string, graceMs: number): void {
    for (const call of this.#calls.values()) call.abort("shutting_down", message);
    this.stop(graceMs);
  }

  /** WatchedProcess. */
  overMemory(bytes: number): void {
    this.kill(
      `its process used ${mebibytes(bytes)} of memory, the limit is ${mebibytes(this.maxMemoryBytes)}`,
    );
  }

  #send(type: string, json: string): void {
    this.#process.duplex.write(encodeFrame("host", type, "0", json));
  }

  #received(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk);
    } catch (error) {
      // Whatever was thrown, what the process sent caused it.
      this.kill(`it broke the protocol between server and module host: ${messageOf(error)}`);
      this.#process.duplex.abort(new VeripyError("protocol_error", messageOf(error)));
    }
  }

  /** HostMessages. */
  ready(ready: HostReady): void {
    this.#isReady = true;
    this.#loading.resolve(ready);
  }

  /** HostMessages. */
  failed(reason: string): void {
    this.#isEnding = true;
    const message = withoutRoot(reason, this.#root);
    this.#loading.reject(new VeripyError("bad_module", message, { detail: reason }));
  }

  /** HostMessages. */
  fatal(reason: string): void {
    this.#process.explain(reason);
  }

  /** HostMessages. */
  log(level: LogLevel, text: string, ref: string | undefined): void {
    this.#logger.line(level, text, ref);
  }

  /** HostMessages. */
  part(ref: number, dataJson: string): void {
    this.#callOf(ref, "part").part(dataJson);
  }

  /** HostMessages. */
  progress(ref: number, json: string): void {
    this.#callOf(ref, "progress").progress(json);
  }

  /** HostMessages. */
  aborting(ref: number): void {
    if (!this.#calls.confirmAbort(ref)) throw unexpected("aborting", ref);
    this.#calls.get(ref)?.aborting();
  }

  /** HostMessages. */
  done(ref: number, resultJson: string): void {
    this.#end(ref, "done").succeeded(resultJson);
  }

  /** HostMessages. */
  error(ref: number, code: WireCode, message: string): void {
    this.#end(ref, "error").failed(code, message);
  }

  #callOf(ref: number, type: string): CallEvents {
    const call = this.#calls.get(ref);
    if (call === undefined) throw unexpected(type, ref);
    return call;
  }

  #end(ref: number, type: string): CallEvents {
    const call = this.#callOf(ref, type);
    this.#calls.end(ref);
    if (this.#calls.size === 0) this.#becameIdle();
    return call;
  }

  #becameIdle(): void {
    this.#idleSince = performance.now();
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  #ended(reason: string): void {
    memoryWatch.remove(this);
    this.failed(`${this.#mod} does not load: ${reason}.`);
    const calls = this.#calls.values();
    this.#calls.clear();
    this.#becameIdle();
    for (const call of calls) call.lost(reason);
    this.#events.ended(reason);
  }
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / (1024 * 1024))} MiB`;
}
