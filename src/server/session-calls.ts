import { VeripyError } from "../base/errors.ts";
import { unquote } from "../base/json-string.ts";
import type { Limits } from "../base/limits.ts";
import type { CallClient, CallOutcome } from "../host/call.ts";
import type { RunnableVersion } from "../modules/module-version.ts";
import { type DecodedExecRequest, decodeExecRequest, type ExecRequestForm } from "../protocol/exec-codec.ts";
import type { Frame } from "../protocol/frame.ts";
import type { ModuleAccess } from "./module-access.ts";
import type { ClientLabel } from "./observers/observer.ts";
import type { Observers } from "./observers/observers.ts";
import { failureOf } from "./request-failure.ts";
import {
  type CallSession,
  encodeExecFailure,
  execRecord,
  type FailedOutcome,
  keyOf,
  SessionCall,
} from "./session-call.ts";
import type { SessionOutput } from "./session-output.ts";

/** What the calls of a session need of the server. */
export interface CallingServer {
  readonly limits: Pick<Limits, "execMs">;
  readonly observers: Observers;
  readonly isDraining: boolean;
}

/** The calls of one client that are in flight. */
export class SessionCalls implements CallSession {
  readonly #peer: ClientLabel;
  readonly #server: CallingServer;
  readonly #access: ModuleAccess;
  readonly #output: SessionOutput;
  readonly #onEnded: () => void;
  readonly #calls = new Map<number | string, SessionCall>();
  /** Most clients repeat it in their next request. */
  #execForm: ExecRequestForm | undefined;

  /** `onEnded` is called after each call, when its answer has been sent. */
  constructor(
    peer: ClientLabel,
    server: CallingServer,
    access: ModuleAccess,
    output: SessionOutput,
    onEnded: () => void,
  ) {
    this.#peer = peer;
    this.#server = server;
    this.#access = access;
    this.#output = output;
    this.#onEnded = onEnded;
  }

  get size(): number {
    return this.#calls.size;
  }

  /** CallSession. */
  get isBehind(): boolean {
    return this.#output.isBehind;
  }

  /** Handles `mod:exec`. Never throws: a request that is refused is answered here too. */
  exec(frame: Frame): void {
    const { observers } = this.#server;
    const startedAt = observers.watchRequests ? performance.now() : 0;
    let request: DecodedExecRequest | undefined;
    let version: RunnableVersion | undefined;
    try {
      request = decodeExecRequest(frame, this.#execForm);
      this.#execForm = request.form;
      version = this.#versionFor(frame, request.form);
      if (observers.watchRequests) this.#admit(frame.ref, request, version);
    } catch (error) {
      this.#refuse(frame, startedAt, request, version, error);
      return;
    }
    this.#start(frame, startedAt, request, version);
  }

  /** Handles `mod:cancel`. A call that is not in flight is ignored. */
  cancel(frame: Frame): void {
    this.#calls.get(keyOf(frame))?.abort("cancelled", "The client cancelled the call.");
  }

  /** Lets streams continue that had to wait for the client. */
  resume(): void {
    for (const call of this.#calls.values()) call.resume();
  }

  abort(code: "cancelled" | "shutting_down", message: string): void {
    for (const call of [...this.#calls.values()]) call.abort(code, message);
  }

  /** CallSession. */
  send(call: SessionCall, type: string, json: string): boolean {
    this.#output.send("mod", type, call.ref, json, call.key);
    return !this.#output.isFull;
  }

  /** CallSession. */
  finish(call: SessionCall, outcome: CallOutcome): void {
    const { observers } = this.#server;
    if (observers.watchRequests) observers.answered(call.record(this.#peer, outcome));
    this.#output.sendLine(call.answer(outcome), call.key);
    if (this.#calls.get(call.key) !== call) return;
    this.#calls.delete(call.key);
    this.#onEnded();
  }

  /** The version that an exec may run. Throws if it must not be run now, or by this client. */
  #versionFor(frame: Frame, { mod, tree }: ExecRequestForm): RunnableVersion {
    this.#access.authorize("exec", mod);
    if (this.#server.isDraining)
      throw new VeripyError("shutting_down", "The server is stopping and takes no more calls.");
    if (this.#calls.has(keyOf(frame)))
      throw new VeripyError("bad_request", `Another call with the reference '${frame.ref}' is in flight.`);
    return this.#access.find(mod, tree);
  }

  #admit(ref: string, { form: { mod }, argsJson }: DecodedExecRequest, { tree }: RunnableVersion): void {
    const record = { peer: this.#peer, ref, mod, tree, args: unquote(argsJson) };
    const refusal = this.#server.observers.admit(record);
    if (refusal !== undefined) throw new VeripyError("busy", refusal);
  }

  #refuse(
    frame: Frame,
    startedAt: number,
    request: DecodedExecRequest | undefined,
    version: RunnableVersion | undefined,
    error: unknown,
  ): void {
    const { ref } = frame;
    const { observers } = this.#server;
    const { code, message } = failureOf(error, "exec", this.#peer);
    // The other codes imply that nothing has run.
    const started = code === "shutting_down" ? { started: false as const } : {};
    const outcome: FailedOutcome = { ok: false, code, message, ...started };
    if (observers.watchRequests) {
      const { form, argsJson } = request ?? {};
      const exec = { ref, mod: form?.mod, argsJson, tree: version?.tree, parts: 0, startedAt };
      observers.answered(execRecord(this.#peer, exec, outcome));
    }
    this.#output.sendLine(encodeExecFailure(ref, outcome), keyOf(frame));
  }

  #start(
    frame: Frame,
    startedAt: number,
    { form, argsJson }: DecodedExecRequest,
    version: RunnableVersion,
  ): void {
    const { execMs } = this.#server.limits;
    const timeoutMs = Math.min(form.timeoutMs ?? execMs, execMs);
    const request = { argsJson, timeoutMs, client: clientOf(this.#peer), ref: frame.ref };
    const call = new SessionCall(this, keyOf(frame), version, request, startedAt);
    this.#calls.set(call.key, call);
    try {
      call.start();
    } catch (error) {
      const { code, message } = failureOf(error, "exec", this.#peer);
      // `busy` would say that nothing has run, but that is not known.
      call.done({ ok: false, code: code === "busy" ? "exec_failed" : code, message });
    }
  }
}

/** The client as modules see it. */
function clientOf({ fingerprint, name }: ClientLabel): CallClient {
  return name === undefined ? { fingerprint } : { fingerprint, name };
}
