import { messageOf, VeripyError } from "../../base/errors.ts";
import type { InputCheck } from "../../manifest/input-schema.ts";
import type { Permissions } from "../../manifest/permissions.ts";
import { encodeFrame, type Frame } from "../../protocol/frame.ts";
import type { Execute, ModuleContext, ModuleLog } from "../api.ts";
import type { CallClient } from "../call.ts";
import { decodeExec, decodePlainArgs, type ExecPayload, encodeDone, encodePart } from "../call-codec.ts";
import { kindOf } from "../module-exports.ts";
import { clip, type HostLimits, type LogLevel, maxErrorText } from "../protocol.ts";
import { thrownText } from "../public-text.ts";
import { missingPermission } from "./missing-permission.ts";
import { PartWindow } from "./part-window.ts";
import { ProgressReports } from "./progress-reports.ts";

/** What the calls of one process have in common. */
export interface HostedModule {
  readonly mod: string;
  readonly tree: string;
  /** The real path of `mods/` when the module was read. */
  readonly root: string;
  readonly execute: Execute;
  readonly checkInput: InputCheck | undefined;
  readonly limits: HostLimits;
  /** What its sandbox allows; undefined when it has none. */
  readonly permissions: Permissions | undefined;
  /** Sends `host:type:ref json`. */
  send(type: string, ref: string, json: string): void;
  sendLine(line: string): void;
  log(level: LogLevel, text: string, ref: string): void;
  /** The call with this reference has sent its last frame. */
  forget(ref: number): void;
}

/** One call, in the module's own process. */
export class RunningCall {
  readonly #module: HostedModule;
  readonly #frame: Frame;
  readonly #clients: readonly CallClient[];
  #payload: ExecPayload | undefined;
  #abort: AbortController | undefined;
  #abortReason: string | undefined;
  #progress: ProgressReports | undefined;
  #parts: PartWindow | undefined;
  #ended = false;

  /** `clients` are those that the numbers in exec frames stood for when this one came. */
  constructor(module: HostedModule, frame: Frame, clients: readonly CallClient[]) {
    this.#module = module;
    this.#frame = frame;
    this.#clients = clients;
  }

  /** Runs the module. Never throws: what goes wrong is the call's answer. */
  run(): void {
    const { checkInput, execute, mod } = this.#module;
    try {
      const args = this.#args();
      checkInput?.(args);
      const returned: unknown = execute(args, new CallContext(this, this.#module));
      if (typeof returned === "string") this.#succeed(returned);
      else if (isThenable(returned))
        returned.then(
          (value) => this.#settled(value),
          (error) => this.#failed(error),
        );
      else if (isAsyncIterable(returned)) this.#stream(returned).catch((error) => this.#failed(error));
      else this.#fail("exec_failed", `execute of ${mod} must return a string, not ${kindOf(returned)}.`);
    } catch (error) {
      this.#failed(error);
    }
  }

  #args(): string {
    return decodePlainArgs(this.#frame) ?? this.#parsed().args;
  }

  /** Parsed on demand: most modules need the arguments only. */
  #parsed(): ExecPayload {
    this.#payload ??= decodeExec(this.#frame);
    return this.#payload;
  }

  /** Aborts the module's signal. The call ends when the module ends it. */
  abort(reason: string): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#parts?.close();
    this.#abort?.abort(abortError(reason));
  }

  credit(parts: number): void {
    this.#parts?.credit(parts);
  }

  get client(): CallClient {
    return this.#clients[this.#parsed().client] as CallClient;
  }

  /** The requester's REF. */
  get ref(): string {
    return this.#parsed().ref;
  }

  get signal(): AbortSignal {
    // Made on demand: most modules never ask for it.
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#abortReason !== undefined) this.#abort.abort(abortError(this.#abortReason));
    }
    return this.#abort.signal;
  }

  log(level: LogLevel, message: unknown): void {
    this.#module.log(level, String(message), this.ref);
  }

  progress(fraction: number | undefined, message: string | undefined): void {
    if (this.#ended) return;
    this.#progress ??= new ProgressReports((json) => this.#module.send("progress", this.#frame.ref, json));
    this.#progress.report(fraction, message);
  }

  #settled(value: unknown): void {
    if (typeof value === "string") this.#succeed(value);
    else {
      const { mod } = this.#module;
      this.#fail("exec_failed", `execute of ${mod} must return a string, not a promise of ${kindOf(value)}.`);
    }
  }

  #failed(error: unknown): void {
    if (error instanceof VeripyError && (error.code === "bad_request" || error.code === "too_large")) {
      this.#fail(error.code, error.message);
      return;
    }
    this.#module.log("debug", `execute failed: ${stackOf(error)}`, this.ref);
    const { mod, permissions, root } = this.#module;
    this.#fail("exec_failed", missingPermission(mod, permissions, error) ?? thrownText(error, root));
  }

  async #stream(generator: AsyncIterable<unknown>): Promise<void> {
    const { limits, mod } = this.#module;
    const iterator = generator[Symbol.asyncIterator]();
    const parts = new PartWindow();
    this.#parts = parts;
    if (this.#abortReason !== undefined) parts.close();
    for (;;) {
      const { value, done } = await iterator.next();
      if (done) {
        this.#succeed(typeof value === "string" ? value : "");
        return;
      }
      const fault = this.#partFault(value, mod, limits.maxPartBytes);
      if (fault === undefined && !parts.closed) {
        const json = JSON.stringify(value);
        this.#module.send("part", this.#frame.ref, encodePart(json));
        if (parts.take(json.length)) continue;
        await parts.room();
        if (!parts.closed) continue;
      }
      // The generator's `finally` runs before the call is over.
      await iterator.return?.();
      throw fault ?? new Error(this.#abortReason);
    }
  }

  #partFault(value: unknown, mod: string, maxPartBytes: number): Error | undefined {
    if (typeof value !== "string")
      return new Error(`execute of ${mod} must yield strings, not ${kindOf(value)}.`);
    if (fits(value, maxPartBytes)) return undefined;
    return new VeripyError(
      "too_large",
      `execute of ${mod} yielded a part of ${Buffer.byteLength(value)} bytes, the limit is ${maxPartBytes}.`,
    );
  }

  #succeed(result: string): void {
    const { maxResultBytes } = this.#module.limits;
    if (fits(result, maxResultBytes)) this.#end(encodeDone(this.#frame.ref, result));
    else {
      const bytes = Buffer.byteLength(result);
      this.#fail(
        "too_large",
        `The result of ${this.#module.mod} has ${bytes} bytes, the limit is ${maxResultBytes}. A module can yield it in parts.`,
      );
    }
  }

  #fail(code: "exec_failed" | "bad_request" | "too_large", message: string): void {
    const json = JSON.stringify({ code, error: clip(message, maxErrorText) });
    this.#end(encodeFrame("host", "error", this.#frame.ref, json));
  }

  /** `line` is the last one of the call. */
  #end(line: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#progress?.flush();
    this.#module.sendLine(line);
    this.#module.forget(this.#frame.refNumber);
  }
}

/** `ctx`. What costs time is made on demand. */
class CallContext implements ModuleContext {
  readonly #call: RunningCall;
  readonly #module: HostedModule;

  constructor(call: RunningCall, module: HostedModule) {
    this.#call = call;
    this.#module = module;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get client(): ModuleContext["client"] {
    return this.#call.client;
  }

  get ref(): string {
    return this.#call.ref;
  }

  get mod(): string {
    return this.#module.mod;
  }

  get tree(): string {
    return this.#module.tree;
  }

  get log(): ModuleLog {
    const call = this.#call;
    return {
      debug: (message) => call.log("debug", message),
      info: (message) => call.log("info", message),
      warn: (message) => call.log("warn", message),
      error: (message) => call.log("error", message),
    };
  }

  /** Bound to its call, because modules destructure the context: `{ signal, progress }`. */
  get progress(): ModuleContext["progress"] {
    const call = this.#call;
    return (fraction, message) => call.progress(fraction, message);
  }
}

/** True when the text has at most `maxBytes` as UTF-8. Counted only when its length does not decide. */
function fits(text: string, maxBytes: number): boolean {
  return text.length * 3 <= maxBytes || (text.length <= maxBytes && Buffer.byteLength(text) <= maxBytes);
}

function abortError(reason: string): DOMException {
  return new DOMException(reason, "AbortError");
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

/** The stack where there is one: it names the module's file and line. Never throws. */
export function stackOf(error: unknown): string {
  try {
    if (error instanceof Error && typeof error.stack === "string") return error.stack;
  } catch {
    // A getter of the module's own.
  }
  return messageOf(error);
}
