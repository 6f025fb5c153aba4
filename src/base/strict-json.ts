import { type JSONVisitor, type ParseErrorCode, printParseErrorCode, visit } from "jsonc-parser";
import { VeripyError } from "./errors.ts";

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** Where a value is in the text: `text.slice(start, end)` is its JSON. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Where an array is, brackets included, and where its elements are. */
export interface ArrayPlace extends Span {
  readonly elements: readonly Span[];
}

export interface ParsedJson {
  readonly value: JsonValue;
  /** Where the arrays in `value` are. Only the top-level value and its members are recorded. */
  readonly places: ReadonlyMap<JsonValue, ArrayPlace>;
}

/** Deeper than any of VeriPy's files, and far from overflowing the stack. */
const maxDepth = 32;
/** The top-level value and its members. */
const maxPlacedDepth = 2;

/**
 * Parses a file that people edit and that security rests on: RFC 8259, and a duplicate key is an error, where
 * `JSON.parse` would silently take the last one. Errors are `bad_config` and say `<file>: line 3, column 7: …`.
 * A leading byte-order mark is ignored.
 */
export function parseStrictJson(text: string, file: string): ParsedJson {
  const builder = new Builder(text, file);
  // The parser rejects a byte-order mark. A space in its place keeps every offset.
  visit(text.replace(/^\ufeff/, " "), builder, { disallowComments: true });
  return builder;
}

/** An array or object that is not complete yet. */
interface Container {
  readonly value: JsonValue[] | { [key: string]: JsonValue };
  readonly start: number;
  /** Of an array, so far. */
  readonly elements: Span[];
  /** Of an object: the key of the next value. */
  key: string;
}

/** Builds the value from the parser's events. Throws at the first error, which also stops the parser. */
class Builder implements JSONVisitor, ParsedJson {
  value: JsonValue = null;
  readonly places = new Map<JsonValue, ArrayPlace>();
  readonly #text: string;
  readonly #file: string;
  readonly #open: Container[] = [];

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  // `visit` calls these without `this`.
  readonly onArrayBegin = (offset: number) => this.#begin([], offset);
  // Without a prototype, `__proto__` is a key like any other.
  readonly onObjectBegin = (offset: number) => this.#begin(Object.create(null), offset);
  readonly onArrayEnd = (offset: number) => this.#end(offset + 1);
  readonly onObjectEnd = this.onArrayEnd;

  readonly onObjectProperty = (key: string, offset: number): void => {
    const object = this.#open.at(-1) as Container;
    if (key in object.value) this.#fail(`duplicate key ${JSON.stringify(key)}`, offset);
    object.key = key;
  };

  readonly onLiteralValue = (value: JsonValue, offset: number, length: number) =>
    this.#add(value, offset, offset + length);

  readonly onError = (code: ParseErrorCode, offset: number, length: number) => {
    const symbol = this.#text.slice(offset, offset + Math.min(length, maxShownSymbol));
    this.#fail(faults[printParseErrorCode(code)] ?? `unexpected ${JSON.stringify(symbol)}`, offset);
  };

  #begin(value: Container["value"], start: number): void {
    if (this.#open.length === maxDepth) this.#fail(`nested more than ${maxDepth} levels deep`, start);
    this.#open.push({ value, start, elements: [], key: "" });
  }

  #end(end: number): void {
    const { value, start, elements } = this.#open.pop() as Container;
    if (Array.isArray(value) && this.#open.length < maxPlacedDepth) {
      this.places.set(value, { start, end, elements });
    }
    this.#add(value, start, end);
  }

  #add(value: JsonValue, start: number, end: number): void {
    const parent = this.#open.at(-1);
    if (parent === undefined) this.value = value;
    else if (Array.isArray(parent.value)) {
      parent.value.push(value);
      parent.elements.push({ start, end });
    } else parent.value[parent.key] = value;
  }

  #fail(why: string, offset: number): never {
    const before = this.#text.slice(0, offset);
    const line = before.split("\n").length;
    const column = offset - before.lastIndexOf("\n");
    throw new VeripyError("bad_config", `${this.#file}: line ${line}, column ${column}: ${why}.`);
  }
}

const maxShownSymbol = 20;

/** What the parser's error codes mean. Any other code is about an unexpected symbol. */
const faults: Record<string, string> = {
  PropertyNameExpected: "expected a key in double quotes",
  ValueExpected: "expected a value",
  ColonExpected: "expected ':'",
  CommaExpected: "expected ','",
  CloseBraceExpected: "expected '}'",
  CloseBracketExpected: "expected ']'",
  EndOfFileExpected: "expected the end of the file",
  InvalidCommentToken: "comments are not allowed",
  UnexpectedEndOfString: "this string does not end on its line",
  UnexpectedEndOfNumber: "this number is incomplete",
  InvalidUnicode: "this string has an invalid \\u escape",
  InvalidEscapeCharacter: "this string has an invalid escape",
  InvalidCharacter: "this string contains a control character",
};
