import { VeripyError, type WireCode } from "../../base/errors.ts";
import type { Limits } from "../../base/limits.ts";
import { encodeExecProgress } from "../../protocol/exec-codec.ts";
import { type Frame, FrameDecoder } from "../../protocol/frame.ts";
import { decodeDone, decodePart } from "../call-codec.ts";
import type { LogLevel } from "../protocol.ts";
import {
  abortingForm,
  boundedLiteral,
  errorForm,
  failedForm,
  type HostReady,
  logForm,
  parseHostPayload,
  progressForm,
  readyForm,
  worstEscape,
} from "./payloads.ts";
import { UnsolicitedLimit } from "./unsolicited-limit.ts";

/** Takes what a module host says, bounded and parsed. `ref` is a call's; the call need not exist. */
export interface HostMessages {
  /** At most one of these two comes, and once. */
  ready(ready: HostReady): void;
  failed(reason: string): void;
  /** Why the process is about to end. Comes once. */
  fatal(reason: string): void;
  /** `ref` is the client's, when the line belongs to a call. */
  log(level: LogLevel, text: string, ref: string | undefined): void;
  /** `dataJson` and `resultJson` are JSON string literals, `json` is a JSON object. */
  part(ref: number, dataJson: string): void;
  progress(ref: number, json: string): void;
  aborting(ref: number): void;
  done(ref: number, resultJson: string): void;
  error(ref: number, code: WireCode, message: string): void;
}

/** What a frame has besides its one string. */
const frameOverhead = 512 * 1024;

/** Reads what a module host sends. The host is not trusted. */
export class HostMessageReader {
  readonly #to: HostMessages;
  readonly #decoder: FrameDecoder;
  readonly #unsolicited: UnsolicitedLimit;
  readonly #limits: Readonly<Limits>;
  #hasLoaded = false;
  #hasSaidWhy = false;

  constructor(limits: Readonly<Limits>, to: HostMessages) {
    this.#to = to;
    this.#limits = limits;
    this.#decoder = new FrameDecoder(
      worstEscape * Math.max(limits.maxResultBytes, limits.maxPartBytes) + frameOverhead,
    );
    this.#unsolicited = new UnsolicitedLimit(limits);
  }

  /** Throws for a frame that a host never sends in this state, or that exceeds a limit. Do not use it after that. */
  push(chunk: Uint8Array): void {
    this.#decoder.push(chunk, this.#frame);
  }

  readonly #frame = (frame: Frame): void => {
    if (frame.api !== "host") throw unexpected(frame.type, frame.ref);
    switch (frame.type) {
      case "done":
        this.#to.done(frame.refNumber, boundedLiteral(decodeDone(frame), this.#limits.maxResultBytes));
        return;
      case "part":
        this.#to.part(frame.refNumber, boundedLiteral(decodePart(frame), this.#limits.maxPartBytes));
        return;
      case "error": {
        const { code, error } = parseHostPayload(errorForm, frame.json);
        this.#to.error(frame.refNumber, code, error);
        return;
      }
      default:
        this.#rare(frame);
    }
  };

  #rare({ type, ref, refNumber, json }: Frame): void {
    switch (type) {
      case "aborting":
        parseHostPayload(abortingForm, json);
        this.#to.aborting(refNumber);
        return;
      case "progress":
        this.#to.progress(refNumber, encodeExecProgress(parseHostPayload(progressForm, json)));
        return;
      case "log": {
        this.#unsolicited.count(json.length);
        const { level, text } = parseHostPayload(logForm, json);
        this.#to.log(level, text, ref === "-" ? undefined : ref);
        return;
      }
      case "ready": {
        if (this.#hasLoaded) throw unexpected(type, ref);
        const ready = parseHostPayload(readyForm, json);
        this.#hasLoaded = true;
        this.#to.ready(ready);
        return;
      }
      case "failed":
        if (this.#hasLoaded) throw unexpected(type, ref);
        this.#hasLoaded = true;
        this.#to.failed(parseHostPayload(failedForm, json).error);
        return;
      case "fatal":
        if (this.#hasSaidWhy) throw unexpected(type, ref);
        this.#hasSaidWhy = true;
        this.#to.fatal(parseHostPayload(failedForm, json).error);
        return;
      default:
        throw unexpected(type, ref);
    }
  }
}

/** A frame that answers nothing. */
export function unexpected(type: string, ref: number | string): VeripyError {
  return new VeripyError("protocol_error", `unexpected frame '${type}:${ref}'`);
}
