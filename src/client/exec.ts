import { VeripyError } from "../base/errors.ts";
import { quote, unquote } from "../base/json-string.ts";
import { isSha256Hex } from "../base/sha256.ts";
import type { Channel, Question } from "../protocol/channel.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  type ExecProgress,
  execPart,
  execProgress,
  execResponse,
  parseAnswer,
} from "../protocol/messages.ts";
import { treeSum } from "../protocol/tree.ts";
import { NotSentError, startedOf, withStarted } from "./call-fate.ts";

export interface ExecOptions {
  /** The call's deadline; the server may have a lower ceiling. Default 30 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** The strings of a module that streams, in order. */
  onPart?(data: string): void;
  onProgress?(progress: ExecProgress): void;
  /**
   * Makes the call again when it has certainly not run: the server refused it as `busy` or `shutting_down` before it
   * started or, with `waitForConnection`, it was never sent. At most six attempts, with growing pauses, within the
   * deadline. Default: true.
   */
  repeat?: boolean;
  /** Runs this verified tree, or fails with `version_mismatch`. Default: the one this client verified last. */
  tree?: string;
}

export interface ExecResult {
  readonly mod: string;
  readonly result: string;
  /** The version that produced the result. */
  readonly tree: string;
  /**
   * The sum of the module's own file. Omitted when only the server vouches for it: the call named a tree that this
   * client has not verified, of a module with imports.
   */
  readonly sum?: string;
}

export const defaultTimeoutMs = 30_000;
/** The server answers at the deadline; the rest is for the way. */
const answerGraceMs = 2_000;

/**
 * The version that a call names, and the text around the strings that change from call to call: all of a request but
 * its arguments, all of a good answer but its result.
 */
export class ExecTarget {
  readonly mod: string;
  readonly tree: string;
  /** Undefined when only the tree is known. */
  readonly sum: string | undefined;
  readonly #requestHead: string;
  readonly #requestTail: string;
  readonly #defaultTail: string;
  readonly #answerHead: string;
  readonly #answerTail: string;

  constructor(mod: string, tree: string, sum: string | undefined) {
    this.mod = mod;
    this.tree = tree;
    this.sum = sum;
    this.#requestHead = ` {"mod":${quote(mod)},"args":`;
    this.#requestTail = `,"tree":${quote(tree)},"timeout_ms":`;
    this.#defaultTail = `${this.#requestTail}${defaultTimeoutMs}}\n`;
    this.#answerHead = `{"mod":${quote(mod)},"result":`;
    this.#answerTail = `,"sum":"${sum}","tree":${quote(tree)}}`;
  }

  /** The line of a request. */
  line(ref: string, args: string, timeoutMs: number | undefined): string {
    const tail = timeoutMs === undefined ? this.#defaultTail : `${this.#requestTail}${timeoutMs}}\n`;
    return `mod:exec:${ref}${this.#requestHead}${quote(args)}${tail}`;
  }

  /** Throws the server's error, and for an answer of another version `verification_failed`. */
  result(frame: Frame): ExecResult {
    const { mod, sum, tree } = this;
    if (sum !== undefined) {
      const literal = frame.literalBetween(this.#answerHead, this.#answerTail);
      // Nothing is left to parse or to check: the rest of the answer is what it has to be.
      if (literal !== undefined) return { mod, result: unquote(literal), sum, tree };
    }
    const answer = parseAnswer(execResponse, frame.json);
    if (answer.mod !== mod || answer.tree !== tree || (sum !== undefined && answer.sum !== sum)) {
      throw new VeripyError(
        "verification_failed",
        `The server ran another version than the one asked for: expected ${described(this)}, got ${described(answer)}.`,
      );
    }
    const { result } = answer;
    const isKnown = sum !== undefined || provesSum(this, answer.sum);
    return isKnown ? { mod, result, sum: answer.sum, tree } : { mod, result, tree };
  }
}

/** The tree of a module without imports is made of its sum alone, so the two prove each other. */
function provesSum({ mod, tree }: ExecTarget, sum: string): boolean {
  return isSha256Hex(sum) && treeSum([{ path: mod, sum }]) === tree;
}

function described(version: { mod: string; tree?: string | undefined; sum: string | undefined }): string {
  const { mod, tree = "not given", sum } = version;
  return `${mod}, tree ${tree}${sum === undefined ? "" : `, sum ${sum}`}`;
}

/** Takes over when a call has failed and may be made again: the promise is the call's from then on. */
export type Recover = (error: unknown, call: ExecCall) => Promise<ExecResult> | undefined;

/** One call: what it sends, and what becomes of the frames that answer it. One object, no closures. */
export class ExecCall implements Question<ExecResult> {
  readonly target: ExecTarget;
  readonly args: string;
  readonly options: ExecOptions;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** By `performance.now()`. */
  readonly startedAt = performance.now();
  readonly #channel: Channel;
  readonly #recover: Recover | undefined;
  #nextPart = 0;
  /** Something came before the answer, so the module has begun. */
  #hasBegun = false;

  constructor(channel: Channel, target: ExecTarget, args: string, options: ExecOptions, recover?: Recover) {
    this.#channel = channel;
    this.target = target;
    this.args = args;
    this.options = options;
    this.timeoutMs = (options.timeoutMs ?? defaultTimeoutMs) + answerGraceMs;
    this.signal = options.signal;
    this.#recover = recover;
  }

  /** Sends the request. Rejects with the server's code, `timeout`, `cancelled`, or what is wrong with the answer. */
  run(): Promise<ExecResult> {
    return this.#channel.ask("mod", this);
  }

  line(ref: string): string {
    return this.target.line(ref, this.args, this.options.timeoutMs);
  }

  decode(frame: Frame): ExecResult {
    try {
      return this.target.result(frame);
    } catch (error) {
      throw error instanceof VeripyError ? withStarted(error, startedOf(error, this.#hasBegun)) : error;
    }
  }

  unanswered(error: VeripyError, isSent: boolean): VeripyError {
    return isSent ? withStarted(error, "unknown") : new NotSentError(error);
  }

  recover(error: unknown): Promise<ExecResult> | undefined {
    return this.#recover?.(error, this);
  }

  /** Parts must come in order and without gaps; anything else is a broken server. */
  onPart(frame: Frame): void {
    this.#hasBegun = true;
    if (frame.type === "exec_progress") this.options.onProgress?.(parseAnswer(execProgress, frame.json));
    if (frame.type !== "exec_part") return;
    const { seq, data } = parseAnswer(execPart, frame.json);
    if (seq !== this.#nextPart) {
      throw new VeripyError("protocol_error", `part ${this.#nextPart} of a stream was expected, ${seq} came`);
    }
    this.#nextPart += 1;
    this.options.onPart?.(data);
  }

  onGivenUp(ref: string): void {
    this.#channel.send("mod", "cancel", ref, "{}");
  }
}
