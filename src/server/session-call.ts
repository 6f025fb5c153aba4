import { unquote } from "../base/json-string.ts";
import type { Call, CallClient, CallOutcome, CallRequest, CallSink } from "../host/call.ts";
import type { RunnableVersion } from "../modules/module-version.ts";
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

/** A number costs no string and no hash of one. */
export function keyOf(frame: Frame): number | string {
  const { refNumber } = frame;
  return Number.isNaN(refNumber) ? frame.ref : refNumber;
}

/** One exec of a session, from its request to its answer. */
export class SessionCall implements CallRequest, CallSink {
  readonly ref: string;
  /** What its session knows it by: the REF, as a number if it is one. */
  readonly key: number | string;
  readonly client: CallClient;
  readonly #session: CallSession;
  readonly #startedAt: number;
  mod: string | undefined;
  argsJson = '""';
  timeoutMs = 0;
  version: RunnableVersion | undefined;
  handle: Call | undefined;
  #parts = 0;
  #isDone = false;

  /** `startedAt` is of use only to observers; it is 0 without them. */
  constructor(session: CallSession, frame: Frame, client: CallClient, startedAt: number) {
    this.#session = session;
    this.ref = frame.ref;
    this.key = keyOf(frame);
    this.client = client;
    this.#startedAt = startedAt;
  }

  /** The arguments; undefined as long as the request has not been read. */
  get args(): string | undefined {
    return this.mod === undefined ? undefined : unquote(this.argsJson);
  }

  /** `mod:cancel`. */
  cancel(): void {
    this.handle?.abort("cancelled", "The client cancelled the call.");
  }

  part(dataJson: string): boolean {
    const seq = this.#parts;
    this.#parts += 1;
    return this.#session.send(this, "exec_part", `{"seq":${seq},"data":${dataJson}}`);
  }

  progress(json: string): void {
    // What tells of the state of things is not worth a place in the queue of a client that reads slowly.
    if (this.#session.isBehind) return;
    this.#session.send(this, "exec_progress", json);
  }

  done(outcome: CallOutcome): void {
    // A fault while it was handed on may have answered it already.
    if (this.#isDone) return;
    this.#isDone = true;
    this.#session.finish(this, outcome);
  }

  /** The line of the `exec_resp`. */
  answer(outcome: CallOutcome): string {
    if (!outcome.ok)
      return encodeFrame(
        "mod",
        "exec_resp",
        this.ref,
        errorPayload(outcome.code, outcome.message, outcome.started),
      );
    // A call that succeeded has a version.
    return VersionText.of(this.version as RunnableVersion).answer(this.ref, outcome.resultJson);
  }

  /** What observers are told of it. */
  record(peer: ClientLabel, outcome: CallOutcome): RequestRecord {
    const { args } = this;
    return {
      peer,
      action: "exec",
      ref: this.ref,
      ...(this.mod === undefined ? {} : { mod: this.mod }),
      ...(this.version === undefined ? {} : { tree: this.version.tree }),
      ...(args === undefined ? {} : { args }),
      ...(outcome.ok ? { resultJson: outcome.resultJson } : {}),
      parts: this.#parts,
      code: outcome.ok ? "ok" : outcome.code,
      durationMs: performance.now() - this.#startedAt,
    };
  }
}
