import { VeripyError } from "../base/errors.ts";
import { isSha256Hex } from "../base/sha256.ts";
import type { CatalogueSignature } from "../catalogue/signed-catalogue.ts";
import type { Channel } from "../protocol/channel.ts";
import {
  decodeExecAnswer,
  decodeExecPart,
  decodeExecProgress,
  type ExecAnswerForm,
  type ExecRequestForm,
  encodeExecRequest,
  execAnswerForm,
  execRequestForm,
} from "../protocol/exec-codec.ts";
import type { Frame } from "../protocol/frame.ts";
import type { ExecProgress } from "../protocol/messages.ts";
import type { DecodedRequest } from "../protocol/pending-request.ts";
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
  /** Who signed the catalogue that lists the version, if the client has signers. */
  readonly signed?: CatalogueSignature;
}

export const defaultTimeoutMs = 30_000;
/** The server answers at the deadline; this is time for the answer to arrive. */
const answerGraceMs = 2_000;

/** The version that a call names, with the text that its requests and answers have in common. */
export class ExecTarget {
  readonly mod: string;
  readonly tree: string;
  /** Undefined when only the tree is known. */
  readonly sum: string | undefined;
  readonly signed: CatalogueSignature | undefined;
  /** Of the last request: a program that calls a module over and over rarely changes the deadline. */
  #requestForm: ExecRequestForm;
  readonly #answerForm: ExecAnswerForm | undefined;

  constructor(mod: string, tree: string, sum: string | undefined, signed?: CatalogueSignature) {
    this.mod = mod;
    this.signed = signed;
    this.tree = tree;
    this.sum = sum;
    this.#requestForm = execRequestForm(mod, tree, defaultTimeoutMs);
    this.#answerForm = sum === undefined ? undefined : execAnswerForm({ mod, sum, tree });
  }

  /** The line of a request. */
  line(ref: string, args: string, timeoutMs = defaultTimeoutMs): string {
    if (this.#requestForm.timeoutMs !== timeoutMs)
      this.#requestForm = execRequestForm(this.mod, this.tree, timeoutMs);
    return encodeExecRequest(ref, this.#requestForm, args);
  }

  /** Throws the server's error, and for an answer of another version `verification_failed`. */
  result(frame: Frame): ExecResult {
    const { mod, sum, tree } = this;
    const answer = decodeExecAnswer(frame, this.#answerForm);
    if (answer.mod !== mod || answer.tree !== tree || (sum !== undefined && answer.sum !== sum)) {
      throw new VeripyError(
        "verification_failed",
        `The server ran another version than the one asked for: expected ${described(this)}, got ${described(answer)}.`,
      );
    }
    const { result } = answer;
    const isKnown = sum !== undefined || provesSum(this, answer.sum);
    const done = isKnown ? { mod, result, sum: answer.sum, tree } : { mod, result, tree };
    return this.signed === undefined ? done : { ...done, signed: this.signed };
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

/** May take over a failed call: its promise then settles as the returned one does. Undefined: the call has failed. */
export type Recover = (error: unknown, call: ExecCall) => Promise<ExecResult> | undefined;

/** One call: its request, and how the frames that answer it are handled. One object without closures, for speed. */
export class ExecCall implements DecodedRequest<ExecResult> {
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
  /** A part or progress has arrived, so the module has begun to run. */
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
    return this.#channel.requestDecoded("mod", this);
  }

  line(ref: string): string {
    return this.target.line(ref, this.args, this.options.timeoutMs);
  }

  /** A failed call that `recover` takes over resolves as the call that replaces it. */
  decode(frame: Frame): ExecResult | Promise<ExecResult> {
    try {
      return this.target.result(frame);
    } catch (error) {
      const failure =
        error instanceof VeripyError ? withStarted(error, startedOf(error, this.#hasBegun)) : error;
      const recovered = this.#recover?.(failure, this);
      if (recovered === undefined) throw failure;
      return recovered;
    }
  }

  unanswered(error: VeripyError, isSent: boolean): VeripyError {
    return isSent ? withStarted(error, "unknown") : new NotSentError(error);
  }

  /** Parts must come in order and without gaps; anything else breaks the protocol. */
  onPart(frame: Frame): void {
    this.#hasBegun = true;
    if (frame.type === "exec_progress") this.options.onProgress?.(decodeExecProgress(frame));
    if (frame.type !== "exec_part") return;
    const { seq, data } = decodeExecPart(frame);
    if (seq !== this.#nextPart) {
      throw new VeripyError("protocol_error", `expected part ${this.#nextPart} of a stream, got part ${seq}`);
    }
    this.#nextPart += 1;
    this.options.onPart?.(data);
  }

  onGivenUp(ref: string): void {
    this.#channel.send("mod", "cancel", ref, "{}");
  }
}
