import { VeripyError } from "../base/errors.ts";
import type { Channel, Question } from "../protocol/channel.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  type ExecProgress,
  execPart,
  execProgress,
  execResponse,
  parseAnswer,
} from "../protocol/messages.ts";

export interface ExecOptions {
  /** The call's deadline; the server may have a lower ceiling. Default 30 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** The strings of a module that streams, in order. */
  onPart?(data: string): void;
  onProgress?(progress: ExecProgress): void;
  /** Runs this verified tree, or fails with `version_mismatch`. Default: the one this client verified last. */
  tree?: string;
}

export interface ExecResult {
  readonly mod: string;
  readonly result: string;
  /** The version that produced the result. */
  readonly sum: string;
  readonly tree: string;
}

/** The version that a call names. */
export interface ExecTarget {
  readonly mod: string;
  readonly tree: string;
  /** Undefined when only the tree is known. */
  readonly sum: string | undefined;
}

const defaultTimeoutMs = 30_000;
/** The server answers at the deadline; the rest is for the way. */
const answerGraceMs = 2_000;

/** One call: what it sends, and what becomes of the frames that answer it. One object, no closures. */
export class ExecCall implements Question<ExecResult> {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly #channel: Channel;
  readonly #target: ExecTarget;
  readonly #options: ExecOptions;
  #nextPart = 0;

  constructor(channel: Channel, target: ExecTarget, options: ExecOptions) {
    this.#channel = channel;
    this.#target = target;
    this.#options = options;
    this.timeoutMs = (options.timeoutMs ?? defaultTimeoutMs) + answerGraceMs;
    this.signal = options.signal;
  }

  /** Sends the request. Rejects with the server's code, `timeout`, `cancelled`, or what is wrong with the answer. */
  run(args: string): Promise<ExecResult> {
    const { mod, tree } = this.#target;
    const timeout_ms = this.#options.timeoutMs ?? defaultTimeoutMs;
    return this.#channel.ask("mod", "exec", JSON.stringify({ mod, args, tree, timeout_ms }), this);
  }

  decode({ json }: Frame): ExecResult {
    const { mod, tree } = this.#target;
    const answer = this.#expectedAnswer(json) ?? parseAnswer(execResponse, json);
    if (answer.mod === mod && answer.tree === tree) return { ...answer, tree };
    throw new VeripyError(
      "verification_failed",
      `The server ran another version than the verified one: asked was ${mod} ${tree}, answered ${answer.mod} ${answer.tree}.`,
    );
  }

  /** Parts must come in order and without gaps; anything else is a broken server. */
  onPart(frame: Frame): void {
    if (frame.type === "exec_progress") this.#options.onProgress?.(parseAnswer(execProgress, frame.json));
    if (frame.type !== "exec_part") return;
    const { seq, data } = parseAnswer(execPart, frame.json);
    if (seq !== this.#nextPart) {
      throw new VeripyError("protocol_error", `part ${this.#nextPart} of a stream was expected, ${seq} came`);
    }
    this.#nextPart += 1;
    this.#options.onPart?.(data);
  }

  onGivenUp(ref: string): void {
    this.#channel.send("mod", "cancel", ref, "{}");
  }

  /**
   * All of a good answer but its result is known beforehand. When the text around the result is exactly that, and
   * the result is one JSON string, there is nothing left to parse or to check; undefined otherwise.
   */
  #expectedAnswer(json: string): ExecResult | undefined {
    const { mod, sum, tree } = this.#target;
    if (sum === undefined) return undefined;
    const head = `{"mod":${JSON.stringify(mod)},"result":`;
    const tail = `,"sum":"${sum}","tree":"${tree}"}`;
    if (!json.startsWith(head) || !json.endsWith(tail)) return undefined;
    try {
      const result: unknown = JSON.parse(json.slice(head.length, json.length - tail.length));
      return typeof result === "string" ? { mod, result, sum, tree } : undefined;
    } catch {
      return undefined;
    }
  }
}
