import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import { VeripyError, type WireCode } from "../base/errors.ts";
import type { Call, CallOutcome, CallRequest, CallSink } from "../host/call.ts";
import type { HostCall, ModuleHost } from "../host/parent/module-host.ts";
import { ProgressLimit } from "../host/parent/progress-limit.ts";
import { partWindow } from "../host/protocol.ts";

/** What a call needs of the version it belongs to. */
export interface CallOwner {
  readonly mod: string;
  readonly killGraceMs: number;
  /** A waiting call has been answered without having run. */
  leftQueue(call: VersionCall): void;
  /** A call's answer has been given. */
  answered(call: VersionCall, ok: boolean): void;
  /** The host has no more to do with a call that ran. */
  ended(call: VersionCall): void;
  /** New calls wait while somebody holds: it is open whether the process lives on. */
  hold(): void;
  release(): void;
}

/**
 * One call of a module from its beginning to its end, in one object. It waits, runs, and ends; a client that has
 * been answered early (its time was up, or it cancelled) leaves a call that is still to end in the process.
 */
export class VersionCall implements Call, HostCall, Expirable {
  readonly request: CallRequest;
  /** When it was handed to its process, by `performance.now()`; 0 before. */
  ranAt = 0;
  readonly #owner: CallOwner;
  readonly #sink: CallSink;
  readonly #timeoutMs: number;
  readonly #begunAt: number;
  #host: ModuleHost | undefined;
  #hostRef = -1;
  #deadline: Deadline;
  #isAnswered = false;
  /** Set when the module was told to end the call: why. */
  #abortedFor: "timeout" | "cancelled" | undefined;
  #confirmed = false;
  #holds = false;
  /** Parts that came since the last grant, and their length. */
  #owedParts = 0;
  #owedLength = 0;
  #sinkIsSlow = false;
  #progress: ProgressLimit | undefined;

  constructor(owner: CallOwner, request: CallRequest, sink: CallSink, timeoutMs: number) {
    this.#owner = owner;
    this.request = request;
    this.#sink = sink;
    this.#timeoutMs = timeoutMs;
    this.#begunAt = performance.now();
    this.#deadline = deadlines.arm(this, timeoutMs, this.#begunAt);
  }

  /** Hands the call to a process; `hasWaited` when that is not in the moment in which it was made. */
  run(host: ModuleHost, hasWaited: boolean): void {
    this.#host = host;
    this.ranAt = hasWaited ? performance.now() : this.#begunAt;
    this.#hostRef = host.exec(this.request, this);
  }

  /** Answers a call that never ran, or never will. */
  refuse(code: WireCode, message: string): void {
    this.#deadline.disarm();
    this.#answer({ ok: false, code, message, started: false });
  }

  /** The deadline, and for a call whose client has been answered the end of its grace. */
  expire(): void {
    const host = this.#host;
    if (host === undefined) {
      this.#owner.leftQueue(this);
      this.refuse(
        "timeout",
        `${this.#owner.mod} was busy for all of the ${this.#timeoutMs} ms that this call had.`,
      );
    } else if (!this.#isAnswered) {
      const message = `${this.#owner.mod} did not answer within ${this.#timeoutMs} ms.`;
      this.#answer({ ok: false, code: "timeout", message });
      this.#tell(host, "timeout", message);
    } else if (this.#abortedFor === "cancelled" && this.#confirmed && this.#timeLeft() > 0) {
      // It runs on, but for nobody, and does not keep others waiting. Its own deadline stands.
      this.#deadline = deadlines.arm(this, this.#timeLeft());
    } else {
      host.kill(
        `a call did not end within ${this.#owner.killGraceMs} ms after its ${this.#abortedFor === "cancelled" ? "cancellation" : "deadline"}`,
      );
    }
  }

  abort(code: "cancelled" | "shutting_down", message: string): void {
    if (this.#isAnswered) return;
    this.#deadline.disarm();
    const host = this.#host;
    if (host === undefined) {
      this.#owner.leftQueue(this);
      this.refuse(code, message);
      return;
    }
    this.#answer({ ok: false, code, message });
    this.#tell(host, "cancelled", message);
  }

  resume(): void {
    this.#sinkIsSlow = false;
    if (this.#owedParts > 0 && !this.#isAnswered) this.#grant();
  }

  part(dataJson: string): void {
    // The process counts more as outstanding than this side does: it has yet to see grants that are on their way.
    if (this.#owedParts >= partWindow.parts || this.#owedLength >= partWindow.bytes)
      throw new VeripyError(
        "protocol_error",
        `more parts than were granted: ${partWindow.parts}, or ${partWindow.bytes} characters`,
      );
    this.#owedParts += 1;
    this.#owedLength += dataJson.length;
    if (this.#isAnswered) return;
    if (!this.#sink.part(dataJson)) this.#sinkIsSlow = true;
    else if (
      !this.#sinkIsSlow &&
      (this.#owedParts >= partWindow.parts / 4 || this.#owedLength >= partWindow.bytes / 4)
    )
      this.#grant();
  }

  progress(json: string): void {
    this.#progress ??= new ProgressLimit(this.ranAt, (report) => this.#sink.progress(report));
    if (this.#isAnswered) this.#progress.close();
    this.#progress.offer(json);
  }

  aborting(): void {
    this.#confirmed = true;
    // After a deadline the process may still be killed, so that one holds until the call has ended.
    if (this.#abortedFor === "cancelled") this.#release();
  }

  succeeded(resultJson: string): void {
    this.#end({ ok: true, resultJson });
  }

  failed(code: WireCode, message: string): void {
    this.#end({ ok: false, code, message });
  }

  lost(reason: string): void {
    this.#end({ ok: false, code: "module_crashed", message: `${this.#owner.mod} crashed: ${reason}.` });
  }

  #end(outcome: CallOutcome): void {
    this.#deadline.disarm();
    this.#release();
    this.#owner.ended(this);
    this.#answer(outcome);
  }

  #answer(outcome: CallOutcome): void {
    if (this.#isAnswered) return;
    this.#progress?.close();
    this.#isAnswered = true;
    this.#owner.answered(this, outcome.ok);
    this.#sink.done(outcome);
  }

  /** Tells the module to end the call, and gives it the grace for it. */
  #tell(host: ModuleHost, why: "timeout" | "cancelled", reason: string): void {
    this.#abortedFor = why;
    this.#holds = true;
    this.#owner.hold();
    host.abort(this.#hostRef, reason);
    this.#deadline = deadlines.arm(this, this.#owner.killGraceMs);
  }

  #release(): void {
    if (!this.#holds) return;
    this.#holds = false;
    this.#owner.release();
  }

  #grant(): void {
    this.#host?.grant(this.#hostRef, this.#owedParts);
    this.#owedParts = 0;
    this.#owedLength = 0;
  }

  #timeLeft(): number {
    // From its start in the process: to the millisecond its deadline matters to nobody any more.
    return this.ranAt + this.#timeoutMs - performance.now();
  }
}
