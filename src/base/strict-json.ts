import { VeripyError } from "./errors.ts";

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** Where a value stands in its text: `text.slice(start, end)` is it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** An array's place, brackets included, and its elements'. */
export interface ArrayPlace extends Span {
  readonly elements: readonly Span[];
}

export interface ParsedJson {
  readonly value: JsonValue;
  /** The places of the arrays in `value` that are the whole or a member of it; deeper ones are not kept. */
  readonly places: ReadonlyMap<JsonValue, ArrayPlace>;
}

/**
 * Parses a file that people edit and security rests on: RFC 8259, and a key that an object has twice is an
 * error, where `JSON.parse` would silently take the last. Errors are `bad_config` and say
 * `<file>: line 3, column 7: …`. A byte-order mark in front is skipped.
 */
export function parseStrictJson(text: string, file: string): ParsedJson {
  return new StrictJsonParser(text, file).parse();
}

/** More than any of VeriPy's files needs, and far from the end of the stack. */
const maxDepth = 32;
/** The whole, and its members. */
const maxPlacedDepth = 2;
const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// Everything up to the closing quote; escapes are checked by `JSON.parse`.
const stringPattern = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
const spacePattern = /[ \t\n\r]*/y;
const literals: readonly (readonly [string, JsonValue])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

class StrictJsonParser {
  readonly #text: string;
  readonly #file: string;
  readonly #places = new Map<JsonValue, ArrayPlace>();
  #at = 0;
  #depth = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  parse(): ParsedJson {
    if (this.#text.startsWith("\ufeff")) this.#at = 1;
    this.#space();
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) this.#fail("there is more after the end of the JSON");
    return { value, places: this.#places };
  }

  #value(): JsonValue {
    const next = this.#text[this.#at];
    if (next === "[") return this.#nested(() => this.#array());
    if (next === "{") return this.#nested(() => this.#object());
    if (next === '"') return this.#string();
    for (const [literal, value] of literals) {
      if (this.#text.startsWith(literal, this.#at)) {
        this.#at += literal.length;
        return value;
      }
    }
    const number = this.#match(numberPattern);
    if (number !== undefined) return Number(number);
    return this.#fail(next === undefined ? "the text ends too early" : `unexpected ${JSON.stringify(next)}`);
  }

  #nested<T>(parse: () => T): T {
    if (this.#depth === maxDepth) this.#fail(`nested more than ${maxDepth} deep`);
    this.#depth += 1;
    this.#at += 1;
    const value = parse();
    this.#depth -= 1;
    return value;
  }

  #array(): JsonValue[] {
    const values: JsonValue[] = [];
    const isPlaced = this.#depth <= maxPlacedDepth;
    const start = this.#at - 1;
    const elements: Span[] = [];
    this.#space();
    if (!this.#take("]")) {
      do {
        this.#space();
        const from = this.#at;
        values.push(this.#value());
        if (isPlaced) elements.push({ start: from, end: this.#at });
        this.#space();
      } while (!this.#ends("]"));
    }
    if (isPlaced) this.#places.set(values, { start, end: this.#at, elements });
    return values;
  }

  #object(): { [key: string]: JsonValue } {
    // Without a prototype, `__proto__` is a key like any other.
    const object: { [key: string]: JsonValue } = Object.create(null);
    this.#space();
    if (this.#take("}")) return object;
    for (;;) {
      this.#space();
      const start = this.#at;
      if (this.#text[start] !== '"') this.#fail("expected a key in double quotes");
      const key = this.#string();
      if (key in object) this.#fail(`the key ${JSON.stringify(key)} is there twice`, start);
      this.#space();
      if (!this.#take(":")) this.#fail("expected ':'");
      this.#space();
      object[key] = this.#value();
      this.#space();
      if (this.#ends("}")) return object;
    }
  }

  /** After an element or a member: true at the closing bracket, false at a comma. */
  #ends(bracket: "]" | "}"): boolean {
    if (this.#take(bracket)) return true;
    if (!this.#take(",")) this.#fail(`expected ',' or '${bracket}'`);
    return false;
  }

  #string(): string {
    const start = this.#at;
    const literal = this.#match(stringPattern);
    if (literal === undefined)
      return this.#fail("a string that does not end, or with a raw control character");
    try {
      return JSON.parse(literal);
    } catch {
      return this.#fail("a string with an unknown escape", start);
    }
  }

  #space(): void {
    this.#match(spacePattern);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #fail(why: string, at = this.#at): never {
    const before = this.#text.slice(0, at);
    const line = before.split("\n").length;
    const column = at - before.lastIndexOf("\n");
    throw new VeripyError("bad_config", `${this.#file}: line ${line}, column ${column}: ${why}.`);
  }
}
