import { unquote } from "../base/json-string.ts";
import type { Call, CallOutcome, CallRequest, CallSink } from "../host/call.ts";
import type { RunnableVersion } from "../modules/module-version.ts";
import { encodeExecPart } from "../protocol/exec-codec.ts";
import { encodeFrame, type Frame } from "../protocol/frame.ts";
import { errorPayload } from "../protocol/messages.ts";
import { VersionText } from "./encoded-version.ts";
import type { ClientLabel, RequestRecord } from "./observers/observer.ts";

/** What a call needs of the session it belongs to. */
export interface CallSession {
  /** The client reads slowly. */
  readonly isBehind: boolean;
  /** Sends what comes before the end. False: a stream has to wait. */
  send(call: SessionCall, type: string, json: string): boolean;
  /** Called once, at the end. */
  finish(call: SessionCall, outcome: CallOutcome): void;
}

/** A REF as a key of a map: a number if it is one, because that needs no string and no hash. */
export function keyOf(frame: Frame): number | string {
  const { refNumber } = frame;
  return Number.isNaN(refNumber) ? frame.ref : refNumber;
}

/** One exec that a session has accepted, from its start to its answer. */
export class SessionCall implements CallSink {
  readonly key: number | string;
  readonly #session: CallSession;
  readonly #version: RunnableVersion;
  readonly #request: CallRequest;
  readonly #startedAt: number;
  #handle: Call | undefined;
  #parts = 0;
  #isDone = false;

  /** `key` identifies the call in its session. `startedAt` is used by observers only; it is 0 without them. */
  constructor(
    session: CallSession,
    key: number | string,
    version: RunnableVersion,
    request: CallRequest,
    startedAt: number,
  ) {
    this.#session = session;
    this.key = key;
    this.#version = version;
    this.#request = request;
    this.#startedAt = startedAt;
  }

  get ref(): string {
    return this.#request.ref;
  }

  /** Hands the call to its version. It may have ended by the time this returns. */
  start(): void {
    this.#handle = this.#version.call(this.#request, this);
  }

  abort(code: "cancelled" | "shutting_down", message: string): void {
    this.#handle?.abort(code, message);
  }

  /** The client reads again. */
  resume(): void {
    this.#handle?.resume();
  }

  part(dataJson: string): boolean {
    const seq = this.#parts;
    this.#parts += 1;
    return this.#session.send(this, "exec_part", encodeExecPart(seq, dataJson));
  }

  progress(json: string): void {
    // Progress is not worth queueing for a client that reads slowly.
    if (this.#session.isBehind) return;
    this.#session.send(this, "exec_progress", json);
  }

  done(outcome: CallOutcome): void {
    // If `start` failed, the call may have been answered already.
    if (this.#isDone) return;
    this.#isDone = true;
    this.#session.finish(this, outcome);
  }

  /** The line of the `exec_resp`. */
  answer(outcome: CallOutcome): string {
    if (!outcome.ok) return encodeExecFailure(this.ref, outcome);
    return VersionText.of(this.#version).answer(this.ref, outcome.resultJson);
  }

  /** What observers are told. */
  record(peer: ClientLabel, outcome: CallOutcome): RequestRecord {
    const { argsJson, ref } = this.#request;
    const { mod, tree } = this.#version;
    const exec = { ref, mod, argsJson, tree, parts: this.#parts, startedAt: this.#startedAt };
    return execRecord(peer, exec, outcome);
  }
}

export type FailedOutcome = Extract<CallOutcome, { ok: false }>;

/** The line of an `exec_resp` with an error. */
export function encodeExecFailure(ref: string, { code, message, started }: FailedOutcome): string {
  return encodeFrame("mod", "exec_resp", ref, errorPayload(code, message, started));
}

/** An exec that has been answered. The fields of one that was refused are undefined if they weren't known yet. */
export interface AnsweredExec {
  readonly ref: string;
  readonly mod: string | undefined;
  readonly argsJson: string | undefined;
  readonly tree: string | undefined;
  readonly parts: number;
  readonly startedAt: number;
}

/** What observers are told of an exec. */
export function execRecord(peer: ClientLabel, exec: AnsweredExec, outcome: CallOutcome): RequestRecord {
  const { ref, mod, argsJson, tree, parts, startedAt } = exec;
  return {
    peer,
    action: "exec",
    ref,
    ...(mod === undefined ? {} : { mod }),
    ...(tree === undefined ? {} : { tree }),
    ...(argsJson === undefined ? {} : { args: unquote(argsJson) }),
    ...(outcome.ok ? { resultJson: outcome.resultJson } : {}),
    parts,
    code: outcome.ok ? "ok" : outcome.code,
    durationMs: performance.now() - startedAt,
  };
}
