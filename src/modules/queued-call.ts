import { type Deadline, deadlines, type Expirable } from "../base/deadlines.ts";
import { VeripyError, type WireCode } from "../base/errors.ts";
import type { Call, CallOutcome, CallRequest, CallSink } from "../host/call.ts";
import type { CallEvents } from "../host/parent/host-events.ts";
import type { ModuleHost } from "../host/parent/module-host.ts";
import { ProgressLimit } from "../host/parent/progress-limit.ts";
import { partWindow } from "../host/protocol.ts";
import type { CallStats } from "./call-stats.ts";

/** What a call needs of the queue it belongs to. */
export interface CallOwner {
  readonly mod: string;
  readonly killGraceMs: number;
  /** Each call is recorded there when it is answered. */
  readonly stats: CallStats;
  /** Called once, just before the answer of a call that gives up waiting, and when a call that ran has ended. */
  left(call: QueuedCall): void;
}

/**
 * One call of a module. It waits, runs, and ends. A client may be answered before that, when the deadline passes or the
 * call is cancelled; the call then still has to end in the process.
 */
export class QueuedCall implements Call, CallEvents, Expirable {
  readonly request: CallRequest;
  /** When it was handed to its process, by `performance.now()`; 0 before. */
  #ranAt = 0;
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
  #isConfirmed = false;
  #holds = false;
  /** Parts that came since credit was last given, and their length. */
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

  /** Hands the call to a process; `hasWaited` is false right after the call was made. */
  run(host: ModuleHost, hasWaited: boolean): void {
    this.#host = host;
    this.#ranAt = hasWaited ? performance.now() : this.#begunAt;
    this.#hostRef = host.exec(this.request, this);
  }

  /** Answers a call that has not run and never will. */
  refuse(code: WireCode, message: string): void {
    this.#deadline.disarm();
    this.#answer({ ok: false, code, message, started: false });
  }

  /** The deadline has passed, or, if the client has its answer, the grace for the module to end the call. */
  expire(): void {
    const host = this.#host;
    if (host === undefined) {
      this.#owner.left(this);
      this.refuse(
        "timeout",
        `${this.#owner.mod} was busy until the call's deadline of ${this.#timeoutMs} ms.`,
      );
    } else if (!this.#isAnswered) {
      const message = `${this.#owner.mod} did not answer within ${this.#timeoutMs} ms.`;
      this.#answer({ ok: false, code: "timeout", message });
      this.#tell(host, "timeout", message);
    } else if (this.#abortedFor === "cancelled" && this.#isConfirmed && this.#timeLeft() > 0) {
      // It may run on until its own deadline: it blocks no other call.
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
      this.#owner.left(this);
      this.refuse(code, message);
      return;
    }
    this.#answer({ ok: false, code, message });
    this.#tell(host, "cancelled", message);
  }

  resume(): void {
    this.#sinkIsSlow = false;
    if (this.#owedParts > 0 && !this.#isAnswered) this.#giveCredit();
  }

  part(dataJson: string): void {
    // The process counts at least as many, because it has not seen the credit that is on its way.
    if (this.#owedParts >= partWindow.parts || this.#owedLength >= partWindow.bytes)
      throw new VeripyError(
        "protocol_error",
        `more parts than it had credit for: ${partWindow.parts}, or ${partWindow.bytes} characters`,
      );
    this.#owedParts += 1;
    this.#owedLength += dataJson.length;
    if (this.#isAnswered) return;
    if (!this.#sink.part(dataJson)) this.#sinkIsSlow = true;
    else if (
      !this.#sinkIsSlow &&
      (this.#owedParts >= partWindow.parts / 4 || this.#owedLength >= partWindow.bytes / 4)
    )
      this.#giveCredit();
  }

  progress(json: string): void {
    this.#progress ??= new ProgressLimit(this.#ranAt, (report) => this.#sink.progress(report));
    if (this.#isAnswered) this.#progress.close();
    this.#progress.offer(json);
  }

  aborting(): void {
    this.#isConfirmed = true;
    // After a timeout the process may still be killed, so new calls wait until this one has ended.
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
    this.#owner.left(this);
    this.#answer(outcome);
  }

  #answer(outcome: CallOutcome): void {
    if (this.#isAnswered) return;
    this.#progress?.close();
    this.#isAnswered = true;
    this.#owner.stats.record(outcome.ok, this.#ranAt > 0 ? performance.now() - this.#ranAt : undefined);
    this.#sink.done(outcome);
  }

  /** Tells the module to end the call, and gives it time to do so. */
  #tell(host: ModuleHost, why: "timeout" | "cancelled", reason: string): void {
    this.#abortedFor = why;
    this.#holds = true;
    host.hold();
    host.abort(this.#hostRef, reason);
    this.#deadline = deadlines.arm(this, this.#owner.killGraceMs);
  }

  #release(): void {
    if (!this.#holds) return;
    this.#holds = false;
    this.#host?.release();
  }

  #giveCredit(): void {
    this.#host?.credit(this.#hostRef, this.#owedParts);
    this.#owedParts = 0;
    this.#owedLength = 0;
  }

  #timeLeft(): number {
    // Counted from its start in the process, which is precise enough for a call that already has its answer.
    return this.#ranAt + this.#timeoutMs - performance.now();
  }
}
