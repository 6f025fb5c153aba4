import { quote, unquote } from "../base/json-string.ts";
import type { Frame } from "./frame.ts";
import {
  type ExecProgress,
  type ExecResponse,
  execPart,
  execProgress,
  execRequest,
  execResponse,
  parseAnswer,
  parsePayload,
} from "./messages.ts";

// The frames of a call. Calls of one version differ in a single string, so the text around it is encoded once, as a
// "form". A frame whose text around the string is that of a known form has nothing else to parse or to check.

/** `{"mod":M,"args":` … `,"tree":T,"timeout_ms":N}`: a request without its arguments. */
export interface ExecRequestForm {
  readonly mod: string;
  readonly tree: string | undefined;
  readonly timeoutMs: number | undefined;
  readonly head: string;
  readonly tail: string;
}

/** `{"mod":M,"result":` … `,"sum":S,"tree":T}`: the answer of a call that succeeded, without its result. */
export interface ExecAnswerForm {
  readonly mod: string;
  readonly sum: string;
  readonly tree: string;
  readonly head: string;
  readonly tail: string;
}

/** The arguments stay a JSON string literal, ready to be copied into another frame. */
export interface DecodedExecRequest {
  readonly form: ExecRequestForm;
  readonly argsJson: string;
}

export function execRequestForm(
  mod: string,
  tree: string | undefined,
  timeoutMs: number | undefined,
): ExecRequestForm {
  // As `JSON.stringify` writes the whole request; the fields that are undefined are left out.
  const others = JSON.stringify({ tree, timeout_ms: timeoutMs }).slice(1);
  const tail = others === "}" ? others : `,${others}`;
  return { mod, tree, timeoutMs, head: `{"mod":${quote(mod)},"args":`, tail };
}

/** The line of a `mod:exec`, newline included. */
export function encodeExecRequest(ref: string, form: ExecRequestForm, args: string): string {
  return `mod:exec:${ref} ${form.head}${quote(args)}${form.tail}\n`;
}

/**
 * Parses a `mod:exec`. `last` is the form of the sender's previous request; one that repeats it is not parsed again.
 * Throws `bad_request` with the JSON path of the fault.
 */
export function decodeExecRequest(frame: Frame, last?: ExecRequestForm): DecodedExecRequest {
  if (last !== undefined) {
    const argsJson = frame.literalBetween(last.head, last.tail);
    if (argsJson !== undefined) return { form: last, argsJson };
  }
  const { mod, args, tree, timeout_ms: timeoutMs } = parsePayload(execRequest, frame.json);
  return { form: execRequestForm(mod, tree, timeoutMs), argsJson: quote(args) };
}

export function execAnswerForm({ mod, sum, tree }: Omit<ExecAnswerForm, "head" | "tail">): ExecAnswerForm {
  const tail = `,"sum":${quote(sum)},"tree":${quote(tree)}}`;
  return { mod, sum, tree, head: `{"mod":${quote(mod)},"result":`, tail };
}

/** The line of a `mod:exec_resp`, newline included. `resultJson` is a JSON string literal. */
export function encodeExecAnswer(ref: string, form: ExecAnswerForm, resultJson: string): string {
  return `mod:exec_resp:${ref} ${form.head}${resultJson}${form.tail}\n`;
}

/**
 * Parses a `mod:exec_resp`. `expected` is the form of an answer of the version that was called; the answer may be of
 * another version all the same. Throws the server's error, or `protocol_error` for a wrong shape.
 */
export function decodeExecAnswer(frame: Frame, expected?: ExecAnswerForm): ExecResponse {
  if (expected !== undefined) {
    const literal = frame.literalBetween(expected.head, expected.tail);
    if (literal !== undefined) {
      const { mod, sum, tree } = expected;
      return { mod, result: unquote(literal), sum, tree };
    }
  }
  return parseAnswer(execResponse, frame.json);
}

/** The payload of a `mod:exec_part`. `dataJson` is a JSON string literal. */
export function encodeExecPart(seq: number, dataJson: string): string {
  return `{"seq":${seq},"data":${dataJson}}`;
}

/** Throws `protocol_error` for a wrong shape. */
export function decodeExecPart(frame: Frame): { readonly seq: number; readonly data: string } {
  return parseAnswer(execPart, frame.json);
}

/** The payload of a `mod:exec_progress`. */
export function encodeExecProgress(progress: ExecProgress): string {
  return JSON.stringify(progress);
}

/** Throws `protocol_error` for a wrong shape. */
export function decodeExecProgress(frame: Frame): ExecProgress {
  return parseAnswer(execProgress, frame.json);
}
