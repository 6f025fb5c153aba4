import { messageOf, VeripyError, type WireCode } from "../../base/errors.ts";
import type { Limits } from "../../base/limits.ts";
import { encodeFrame, type Frame, FrameDecoder } from "../../protocol/frame.ts";
import type { ModuleSource } from "../../source/module-source.ts";
import type { CallClient, CallRequest } from "../call.ts";
import { tightenLimits } from "../module-exports.ts";
import { withoutRoot } from "../public-text.ts";
import { CallTable } from "./call-refs.ts";
import { ClientTable } from "./client-numbers.ts";
import { hostTitle } from "./command.ts";
import { congestedBytes, loadPayload, maxQueuedBytes } from "./load-payload.ts";
import { memoryWatch, type WatchedProcess } from "./memory-watch.ts";
import type { ModuleLog } from "./module-log.ts";
import {
  abortingForm,
  checkedLiteral,
  errorForm,
  failedForm,
  type HostReady,
  logForm,
  parseHostPayload,
  progressForm,
  readyForm,
  worstEscape,
} from "./payloads.ts";
import type { HostProcess, OnLine } from "./process.ts";
import type { HostReserve } from "./spare-process.ts";
import { UnaskedFrames } from "./unsolicited-limit.ts";

export type { HostOptions } from "./command.ts";
export type { HostReady } from "./payloads.ts";

/** One call, as its host sees it. Each has exactly one of the last three as its end. */
export interface HostCall {
  abort(code: "shutting_down", message: string): void;
  /** A streamed part, a JSON string literal. */
  part(dataJson: string): void;
  progress(json: string): void;
  /** The module has seen the abort: its event loop turns. */
  aborting(): void;
  /** `resultJson` is a JSON string literal. */
  succeeded(resultJson: string): void;
  failed(code: WireCode, message: string): void;
  /** The process has ended and took the call with it. */
  lost(reason: string): void;
}

export interface HostEvents {
  /** What waited to be sent has left: `congested` is false again. */
  drained(): void;
  /** The process is gone, and every call of it has been told. Once, and last. */
  ended(reason: string): void;
}

export interface HostSettings {
  readonly reserve: HostReserve;
  readonly limits: Readonly<Limits>;
  readonly log: ModuleLog;
}

/** What a frame has beside its one string. */
const frameOverhead = 512 * 1024;

/**
 * The server's side of one module host. Nothing that comes from the process is trusted: a frame that is none, or
 * that answers what was not asked, ends the process, and its calls learn that it crashed.
 */
export class ModuleHost implements WatchedProcess {
  readonly #mod: string;
  readonly #root: string;
  readonly #process: HostProcess;
  readonly #events: HostEvents;
  readonly #log: ModuleLog;
  readonly #decoder: FrameDecoder;
  readonly #clients = new ClientTable();
  readonly #calls = new CallTable<HostCall>();
  #limits: Readonly<Limits>;
  readonly #loading = Promise.withResolvers<HostReady>();
  #isReady = false;
  #hasFailed = false;
  #hasSaidWhy = false;
  /** References of calls whose abort the process has not confirmed. */
  readonly #unconfirmed = new Set<number>();
  #doomed = false;
  readonly #unasked: UnaskedFrames;

  /** Starts a process and has it load `source`; `loaded` tells how that went. Throws `bad_module`. */
  static async start(source: ModuleSource, settings: HostSettings, events: HostEvents): Promise<ModuleHost> {
    const { limits, reserve, log } = settings;
    const onLine: OnLine = (level, text) => log.line(level, text);
    const child = await reserve.take(source.root, maxQueuedBytes(limits), onLine, hostTitle(source));
    return new ModuleHost(child, source, settings, events);
  }

  private constructor(child: HostProcess, source: ModuleSource, settings: HostSettings, events: HostEvents) {
    this.#mod = source.mod;
    this.#root = source.root;
    this.#process = child;
    this.#events = events;
    this.#limits = settings.limits;
    this.#log = settings.log;
    const { limits } = settings;
    this.#decoder = new FrameDecoder(
      worstEscape * Math.max(limits.maxResultBytes, limits.maxPartBytes) + frameOverhead,
    );
    this.#unasked = new UnaskedFrames(limits);
    child.onEnd((reason) => this.#ended(reason));
    child.duplex.attach({
      data: (chunk) => this.#received(chunk),
      drained: () => this.#events.drained(),
      closed: () => child.channelClosed(),
    });
    this.#send("load", "0", JSON.stringify(loadPayload(source, limits)));
    memoryWatch.add(this);
  }

  /** What the module told of itself, or `bad_module` with the reason why it does not load. */
  get loaded(): Promise<HostReady> {
    return this.#loading.promise;
  }

  /** False once its end has been decided, here or there; calls then belong to another host. */
  get isUsable(): boolean {
    return !this.#doomed && this.#isReady;
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

  /** Calls that the process has not ended yet, those included whose client has been answered. */
  get inFlight(): number {
    return this.#calls.size;
  }

  /** True while it does not take what is sent; calls should wait. */
  get congested(): boolean {
    return this.#process.duplex.queuedBytes > congestedBytes;
  }

  /** Begins a call and returns its reference here, for `abort` and `grant`. */
  exec(request: CallRequest, call: HostCall): number {
    const ref = this.#calls.add(call);
    const client = this.#clients.numberOf(request.client, this.#announce);
    // A REF has nothing to escape.
    const { argsJson, ref: clientRef } = request;
    const line = `host:exec:${ref} {"args":${argsJson},"client":${client},"ref":"${clientRef}"}\n`;
    // A call that is alone goes at once; among others, the process would be woken for each client's.
    this.#process.duplex.write(line, this.#calls.size > 1);
    return ref;
  }

  readonly #announce = (number: number, client: CallClient): void => {
    this.#send("client", String(number), JSON.stringify(client));
  };

  /** Once a call. */
  abort(ref: number, reason: string): void {
    this.#unconfirmed.add(ref);
    this.#send("abort", String(ref), JSON.stringify({ reason }));
  }

  grant(ref: number, parts: number): void {
    this.#send("grant", String(ref), `{"parts":${parts}}`);
  }

  /** Ends the process and what it started at once. The first reason stands. Idempotent. */
  kill(reason: string): void {
    this.#doomed = true;
    this.#process.kill(reason);
  }

  /** Lets it end by itself, for `graceMs` at most. Idempotent. */
  stop(graceMs: number): void {
    this.#doomed = true;
    this.#send("stop", "0", "{}");
    this.#process.expectEnd(graceMs);
  }

  /** Aborts its calls and lets it end by itself, for `graceMs` at most. */
  shutDown(message: string, graceMs: number): void {
    for (const call of this.#calls.values()) call.abort("shutting_down", message);
    this.stop(graceMs);
  }

  overMemory(bytes: number): void {
    const reason = `its process used ${mebibytes(bytes)} of memory, the limit is ${mebibytes(this.maxMemoryBytes)}`;
    this.kill(reason);
  }

  #send(type: string, ref: string, json: string): void {
    this.#process.duplex.write(encodeFrame("host", type, ref, json));
  }

  #received(chunk: Uint8Array): void {
    try {
      this.#decoder.push(chunk, this.#frame);
    } catch (error) {
      // Whatever was thrown, what the process sent was the cause.
      this.kill(`it broke the protocol between server and module host: ${messageOf(error)}`);
      this.#process.duplex.abort(new VeripyError("protocol_error", messageOf(error)));
    }
  }

  readonly #frame = (frame: Frame): void => {
    if (frame.api !== "host") throw violation(frame);
    switch (frame.type) {
      case "done": {
        // Checked before the call is taken off the list: one that has its process killed is still on it.
        const resultJson = checkedLiteral(frame, '{"result":', this.#limits.maxResultBytes);
        this.#end(frame).succeeded(resultJson);
        return;
      }
      case "part": {
        const dataJson = checkedLiteral(frame, '{"data":', this.#limits.maxPartBytes);
        this.#callOf(frame).part(dataJson);
        return;
      }
      case "error": {
        const { code, error } = parseHostPayload(errorForm, frame.json);
        this.#end(frame).failed(code, error);
        return;
      }
      default:
        this.#rare(frame);
    }
  };

  #rare(frame: Frame): void {
    const { type, json } = frame;
    switch (type) {
      case "aborting":
        parseHostPayload(abortingForm, json);
        this.#confirmed(frame);
        return;
      case "progress": {
        const call = this.#callOf(frame);
        call.progress(JSON.stringify(parseHostPayload(progressForm, json)));
        return;
      }
      case "log": {
        this.#unasked.count(json.length);
        const { level, text } = parseHostPayload(logForm, json);
        this.#log.line(level, text, frame.ref === "-" ? undefined : frame.ref);
        return;
      }
      case "ready":
        if (this.#isReady || this.#hasFailed) throw violation(frame);
        this.#becameReady(parseHostPayload(readyForm, json));
        return;
      case "failed":
        if (this.#isReady || this.#hasFailed) throw violation(frame);
        this.#hasFailed = true;
        this.#notLoaded(parseHostPayload(failedForm, json).error);
        return;
      case "fatal":
        if (this.#hasSaidWhy) throw violation(frame);
        this.#hasSaidWhy = true;
        this.#process.explain(parseHostPayload(failedForm, json).error);
        return;
      default:
        throw violation(frame);
    }
  }

  #confirmed(frame: Frame): void {
    const ref = frame.refNumber;
    if (!this.#unconfirmed.delete(ref)) throw violation(frame);
    const call = this.#calls.get(ref);
    // The call's end and its abort have crossed on the way.
    if (call === undefined) this.#calls.release(ref);
    else call.aborting();
  }

  #becameReady(ready: HostReady): void {
    this.#isReady = true;
    this.#limits = tightenLimits(this.#limits, ready.limits);
    this.#loading.resolve(ready);
  }

  #notLoaded(reason: string): void {
    this.#doomed = true;
    const message = withoutRoot(reason, this.#root);
    this.#loading.reject(new VeripyError("bad_module", message, { detail: reason }));
  }

  #callOf(frame: Frame): HostCall {
    const call = this.#calls.get(frame.refNumber);
    if (call === undefined) throw violation(frame);
    return call;
  }

  #end(frame: Frame): HostCall {
    const call = this.#callOf(frame);
    const ref = frame.refNumber;
    this.#calls.remove(ref);
    // Else the confirmation is still to come, and must not be taken for another call's.
    if (!this.#unconfirmed.has(ref)) this.#calls.release(ref);
    return call;
  }

  #ended(reason: string): void {
    this.#doomed = true;
    memoryWatch.remove(this);
    this.#notLoaded(`${this.#mod} does not load: ${reason}.`);
    const calls = this.#calls.values();
    this.#calls.clear();
    for (const call of calls) call.lost(reason);
    this.#events.ended(reason);
  }
}

function violation({ type, ref }: Frame): VeripyError {
  return new VeripyError("protocol_error", `a frame '${type}:${ref}' that nothing asked for`);
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / (1024 * 1024))} MiB`;
}
