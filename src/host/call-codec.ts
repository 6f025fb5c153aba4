import { quote, unquote } from "../base/json-string.ts";
import { encodeFrame, type Frame } from "../protocol/frame.ts";
import type { CallClient } from "./call.ts";

// The frames of a call between the server and a module host, see protocol.ts. Frames that every call needs are encoded
// as a line and decoded without parsing more than their one string; for the others a payload is enough.
// The server doesn't trust what it decodes; it checks the rest in parent/payloads.ts, with a library that a host need not load.

export interface ExecPayload {
  /** The first field, so that a host finds it without parsing the rest. */
  readonly args: string;
  /** The number that a `client` frame has assigned. */
  readonly client: number;
  /** The REF that the client gave the call. */
  readonly ref: string;
}

/** The line of a `host:exec`. `argsJson` is a JSON string literal; `clientRef`, like any REF, needs no escapes. */
export function encodeExec(ref: number, argsJson: string, client: number, clientRef: string): string {
  return `host:exec:${ref} ${argsHead}${argsJson},"client":${client},"ref":"${clientRef}"}\n`;
}

export function decodeExec(frame: Frame): ExecPayload {
  return JSON.parse(frame.json) as ExecPayload;
}

/** The arguments of a `host:exec` if they are short and need no parser; otherwise undefined, see `decodeExec`. */
export function decodePlainArgs(frame: Frame): string | undefined {
  const literal = frame.plainLiteralAfter(argsHead);
  return literal === undefined ? undefined : unquote(literal);
}

/** The line of a `host:done`. */
export function encodeDone(ref: string, result: string): string {
  return `host:done:${ref} ${doneHead}${quote(result)}}\n`;
}

/** The result as a JSON string literal; undefined if the payload is written in any other way. */
export function decodeDone(frame: Frame): string | undefined {
  return frame.literalBetween(doneHead, "}");
}

/** The payload of a `host:part`. `dataJson` is a JSON string literal. */
export function encodePart(dataJson: string): string {
  return `${partHead}${dataJson}}`;
}

/** The part as a JSON string literal; undefined if the payload is written in any other way. */
export function decodePart(frame: Frame): string | undefined {
  return frame.literalBetween(partHead, "}");
}

/** The line of a `host:credit`. */
export function encodeCredit(ref: number, parts: number): string {
  return encodeFrame("host", "credit", String(ref), JSON.stringify({ parts }));
}

export function decodeCredit(frame: Frame): number {
  return (JSON.parse(frame.json) as { parts: number }).parts;
}

/** The line of a `host:abort`. */
export function encodeAbort(ref: number, reason: string): string {
  return encodeFrame("host", "abort", String(ref), JSON.stringify({ reason }));
}

export function decodeAbort(frame: Frame): string {
  return (JSON.parse(frame.json) as { reason: string }).reason;
}

/** The line of a `host:client`. */
export function encodeClient(number: number, client: CallClient): string {
  return encodeFrame("host", "client", String(number), JSON.stringify(client));
}

export function decodeClient(frame: Frame): { readonly number: number; readonly client: CallClient } {
  return { number: frame.refNumber, client: JSON.parse(frame.json) as CallClient };
}

const argsHead = '{"args":';
const doneHead = '{"result":';
const partHead = '{"data":';
