import { VeripyError } from "../base/errors.ts";
import { endOfPlainLiteral, isLiteral } from "../base/json-string.ts";
import { decodeUtf8 } from "../base/utf8.ts";

/** One line of the wire: `API:TYPE:REF {json}\n`. Its payload is a place in a text and is not parsed. */
export class Frame {
  readonly api: string;
  readonly type: string;
  readonly #text: string;
  readonly #refFrom: number;
  readonly #refTo: number;
  readonly #from: number;
  readonly #to: number;

  /** `text` holds the REF from `refFrom` to `refTo`, the payload from `from` to `to`. */
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
   * A REF that is a number as JavaScript writes one, without making a string of it; NaN for any other, and for more
   * than 15 digits.
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

  /** The payload's text, from its first brace. */
  get json(): string {
    return this.#text.slice(this.#from, this.#to);
  }

  /**
   * What stands between `head` and `tail`, which are the rest of the payload, when that is one JSON
   * string; undefined for any other payload. Whoever knows what is around the one string that
   * changes from frame to frame has nothing else to parse or to check.
   */
  literalBetween(head: string, tail: string): string | undefined {
    const from = this.#from + head.length;
    const to = this.#to - tail.length;
    if (to - from < 2 || !this.#text.startsWith(head, this.#from) || !this.#text.startsWith(tail, to)) return;
    if (endOfPlainLiteral(this.#text, from) !== to && !isLiteral(this.#text.slice(from, to))) return;
    return this.#text.slice(from, to);
  }

  /** The JSON string that follows `head`, the payload's beginning, if it is a short one without escapes. */
  plainLiteralAfter(head: string): string | undefined {
    if (!this.#text.startsWith(head, this.#from)) return undefined;
    const from = this.#from + head.length;
    const end = endOfPlainLiteral(this.#text, from);
    return end === undefined ? undefined : this.#text.slice(from, end);
  }
}

// `{` is checked here, the rest of the payload where it is parsed. A trailing CR is JSON white space.
const framePattern = /^([a-z_]{1,64}):([a-z_]{1,64}):([A-Za-z0-9_.-]{1,64}) +(\{.*)$/s;

/** The line of a frame, newline included. The parts are trusted to be valid: they are this side's own. */
export function encodeFrame(api: string, type: string, ref: string, json: string): string {
  return `${api}:${type}:${ref} ${json}\n`;
}

/** Parses one line, newline excluded. Throws `protocol_error` when it is no frame. */
export function decodeFrame(line: string): Frame {
  const match = framePattern.exec(line);
  if (match === null) throw noFrame(line);
  // The pattern has four groups, all of them mandatory.
  const [, api, type, ref, json] = match as unknown as [string, string, string, string, string];
  const refFrom = api.length + type.length + 2;
  return new Frame(api, type, line, refFrom, refFrom + ref.length, line.length - json.length, line.length);
}

/**
 * The frames that come by the million: calls and their answers, of clients and of module hosts. Their two words
 * are known, so only REF and payload are cut out of the text; every string less is an allocation less.
 */
const frequent = [
  ["mod", "exec"],
  ["mod", "exec_resp"],
  ["host", "exec"],
  ["host", "done"],
].map(([api = "", type = ""]) => ({ api, type, head: `${api}:${type}:` }));
const space = 0x20;
const zero = 0x30;
/** Every number of so many digits is exact. */
const maxRefDigits = 15;
const refAndSpace = /[A-Za-z0-9_.-]{1,64} +(?=\{)/y;

/** The frame between two places of a text, the same as `decodeFrame` of what stands there. */
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
    `Cannot read a line as a frame 'api:type:ref {json}': it is ${start}.`,
  );
}

/**
 * Bytes to frames, incrementally and bounded: holds at most `maxLineBytes` of an unfinished line. After it has
 * thrown it must not be used again, since what follows a broken line has no known start.
 * `stop()` may be called at any time, from `onFrame` too.
 */
export class FrameDecoder {
  readonly #maxLineBytes: number;
  /** The unfinished line: the first `#length` bytes. It grows by doubling, so one-byte chunks stay cheap. */
  #held = empty;
  #length = 0;
  #stopped = false;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /**
   * The frames that `chunk` completes, in order. Throws `protocol_error` for a line that is no frame or not
   * UTF-8 and `too_large` for one that is too long; `onFrame` has by then had all the frames before it.
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

  /** Decodes nothing from here on: neither the rest of the current chunk nor later ones. Frees what is held. */
  stop(): void {
    this.#stopped = true;
    this.#held = empty;
    this.#length = 0;
  }

  /**
   * Whole lines. A chunk often carries dozens of small frames, so they are decoded in one go; but not too many, for
   * a string cut out of a text keeps all of the text in memory.
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

  /** The slow way, for a chunk in which some line is too long or broken: the lines before it still count. */
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
