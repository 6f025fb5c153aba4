import { VeripyError } from "../base/errors.ts";
import { endOfPlainLiteral, isLiteral } from "../base/json-string.ts";
import { decodeUtf8 } from "../base/utf8.ts";

/** One line of the wire: `API:TYPE:REF {json}\n`. REF and payload are cut out of the received text only when asked for. */
export class Frame {
  readonly api: string;
  readonly type: string;
  readonly #text: string;
  readonly #refFrom: number;
  readonly #refTo: number;
  readonly #from: number;
  readonly #to: number;

  /** `text` has the REF at `refFrom` to `refTo`, and the payload at `from` to `to`. */
  constructor(
    api: string,
    type: string,
    text: string,
    refFrom: number,
    refTo: number,
    from: number,
    to: number,
  ) {
    this.api = api;
    this.type = type;
    this.#text = text;
    this.#refFrom = refFrom;
    this.#refTo = refTo;
    this.#from = from;
    this.#to = to;
  }

  get ref(): string {
    return this.#text.slice(this.#refFrom, this.#refTo);
  }

  /**
   * The REF as a number, without creating a string. NaN when it is not a decimal integer as JavaScript prints it, or has
   * more than 15 digits.
   */
  get refNumber(): number {
    const digits = this.#refTo - this.#refFrom;
    if (digits > maxRefDigits || (digits > 1 && this.#text.charCodeAt(this.#refFrom) === zero))
      return Number.NaN;
    let number = 0;
    for (let at = this.#refFrom; at < this.#refTo; at++) {
      const digit = this.#text.charCodeAt(at) - zero;
      if (digit < 0 || digit > 9) return Number.NaN;
      number = number * 10 + digit;
    }
    return number;
  }

  /** The payload's text, starting with its brace. */
  get json(): string {
    return this.#text.slice(this.#from, this.#to);
  }

  /**
   * If the payload is `head`, one JSON string and `tail`, returns that string as it is written; otherwise undefined. For
   * frames of which only one string changes, this replaces parsing and checking the payload.
   */
  literalBetween(head: string, tail: string): string | undefined {
    const from = this.#from + head.length;
    const to = this.#to - tail.length;
    if (to - from < 2 || !this.#text.startsWith(head, this.#from) || !this.#text.startsWith(tail, to)) return;
    if (endOfPlainLiteral(this.#text, from) !== to && !isLiteral(this.#text.slice(from, to))) return;
    return this.#text.slice(from, to);
  }

  /** If the payload starts with `head` and a short JSON string without escapes, returns that string as it is written. */
  plainLiteralAfter(head: string): string | undefined {
    if (!this.#text.startsWith(head, this.#from)) return undefined;
    const from = this.#from + head.length;
    const end = endOfPlainLiteral(this.#text, from);
    return end === undefined ? undefined : this.#text.slice(from, end);
  }
}

// Of the payload only `{` is checked here; the rest is checked where it is parsed. A trailing CR is JSON whitespace.
const framePattern = /^([a-z_]{1,64}):([a-z_]{1,64}):([A-Za-z0-9_.-]{1,64}) +(\{.*)$/s;

/** The line of a frame, newline included. The parts are not checked, because they come from this program. */
export function encodeFrame(api: string, type: string, ref: string, json: string): string {
  return `${api}:${type}:${ref} ${json}\n`;
}

/** Parses one line, newline excluded. Throws `protocol_error` when it is not a frame. */
export function decodeFrame(line: string): Frame {
  const match = framePattern.exec(line);
  if (match === null) throw noFrame(line);
  // The pattern has four groups, none of them optional.
  const [, api, type, ref, json] = match as unknown as [string, string, string, string, string];
  const refFrom = api.length + type.length + 2;
  return new Frame(api, type, line, refFrom, refFrom + ref.length, line.length - json.length, line.length);
}

/**
 * The most frequent frames: calls and their answers, of clients and of module hosts. Their API and type are known, so no
 * strings are allocated for them.
 */
const frequent = [
  ["mod", "exec"],
  ["mod", "exec_resp"],
  ["host", "exec"],
  ["host", "done"],
].map(([api = "", type = ""]) => ({ api, type, head: `${api}:${type}:` }));
const space = 0x20;
const zero = 0x30;
/** Every integer of so many digits is exact in JavaScript. */
const maxRefDigits = 15;
const refAndSpace = /[A-Za-z0-9_.-]{1,64} +(?=\{)/y;

/** Like `decodeFrame`, for the line between two positions of a text. */
function decodeFrameAt(text: string, from: number, to: number): Frame {
  for (const { api, type, head } of frequent) {
    if (!text.startsWith(head, from)) continue;
    const start = from + head.length;
    refAndSpace.lastIndex = start;
    if (!refAndSpace.test(text)) break;
    let end = refAndSpace.lastIndex - 1;
    while (text.charCodeAt(end - 1) === space) end--;
    return new Frame(api, type, text, start, end, refAndSpace.lastIndex, to);
  }
  return decodeFrame(text.slice(from, to));
}

function noFrame(line: string): VeripyError {
  const start = JSON.stringify(line.length > 40 ? `${line.slice(0, 40)}…` : line);
  return new VeripyError(
    "protocol_error",
    `Cannot read a line as a frame 'api:type:ref {json}': got ${start}.`,
  );
}

/**
 * Decodes bytes to frames incrementally, and holds at most `maxLineBytes` of an unfinished line. Don't use it again after it
 * has thrown: where the next line begins is unknown. `stop()` may be called at any time, also from `onFrame`.
 */
export class FrameDecoder {
  readonly #maxLineBytes: number;
  /** Its first `#length` bytes are the unfinished line. It grows by doubling, so that one-byte chunks stay cheap. */
  #held = empty;
  #length = 0;
  #stopped = false;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /**
   * Calls `onFrame` with each frame that `chunk` completes, in order. Throws `protocol_error` for a line that is not a
   * frame or not UTF-8, and `too_large` for one that is too long, after `onFrame` has had all frames before it.
   */
  push(chunk: Uint8Array, onFrame: (frame: Frame) => void): void {
    if (this.#stopped) return;
    const end = chunk.lastIndexOf(newline) + 1;
    if (end === 0) {
      this.#hold(chunk);
      return;
    }

    let start = 0;
    if (this.#length > 0) {
      start = chunk.indexOf(newline) + 1;
      this.#hold(chunk.subarray(0, start - 1));
      const line = this.#held.subarray(0, this.#length);
      this.#held = empty;
      this.#length = 0;
      onFrame(decodeFrame(decodeLine(line)));
    }
    if (start < end) this.#lines(chunk.subarray(start, end), onFrame);
    if (end < chunk.length) this.#hold(chunk.subarray(end));
  }

  /** Decodes nothing from here on, neither the rest of the current chunk nor later ones, and frees what is held. */
  stop(): void {
    this.#stopped = true;
    this.#held = empty;
    this.#length = 0;
  }

  /**
   * Decodes whole lines. A chunk often has dozens of small frames, which are decoded as one text. Its length is limited,
   * because a slice of a string retains its parent.
   */
  #lines(bytes: Uint8Array, onFrame: (frame: Frame) => void): void {
    let rest = bytes;
    while (rest.length > maxBlockBytes && !this.#stopped) {
      // A line longer than a block is a block of its own.
      const end = rest.lastIndexOf(newline, maxBlockBytes - 1) + 1 || rest.indexOf(newline) + 1;
      this.#block(rest.subarray(0, end), onFrame);
      rest = rest.subarray(end);
    }
    if (rest.length > 0 && !this.#stopped) this.#block(rest, onFrame);
  }

  #block(bytes: Uint8Array, onFrame: (frame: Frame) => void): void {
    const text = bytes.length <= this.#maxLineBytes ? decodeIfUtf8(bytes) : undefined;
    if (text === undefined) {
      this.#lineByLine(bytes, onFrame);
      return;
    }
    let from = 0;
    while (from < text.length && !this.#stopped) {
      const to = text.indexOf("\n", from);
      onFrame(decodeFrameAt(text, from, to));
      from = to + 1;
    }
  }

  /** The slow path, for a block with a line that is too long or not UTF-8: the lines before it still count. */
  #lineByLine(bytes: Uint8Array, onFrame: (frame: Frame) => void): void {
    let from = 0;
    while (from < bytes.length && !this.#stopped) {
      const to = bytes.indexOf(newline, from);
      if (to - from > this.#maxLineBytes) throw this.#tooLong();
      onFrame(decodeFrame(decodeLine(bytes.subarray(from, to))));
      from = to + 1;
    }
  }

  #hold(piece: Uint8Array): void {
    if (this.#stopped) return;
    const length = this.#length + piece.length;
    if (length > this.#maxLineBytes) throw this.#tooLong();
    if (length > this.#held.length) {
      const grown = new Uint8Array(Math.min(Math.max(length, this.#held.length * 2), this.#maxLineBytes));
      grown.set(this.#held.subarray(0, this.#length));
      this.#held = grown;
    }
    this.#held.set(piece, this.#length);
    this.#length = length;
  }

  #tooLong(): VeripyError {
    return new VeripyError("too_large", `A line has more than ${this.#maxLineBytes} bytes, the limit.`);
  }
}

const newline = 0x0a;
const maxBlockBytes = 32 * 1024;
const empty = new Uint8Array(0);

function decodeIfUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decodeUtf8(bytes);
  } catch {
    return undefined;
  }
}

function decodeLine(bytes: Uint8Array): string {
  const text = decodeIfUtf8(bytes);
  if (text === undefined) throw new VeripyError("protocol_error", "A line is not valid UTF-8.");
  return text;
}
