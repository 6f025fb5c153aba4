import { VeripyError } from "../base/errors.ts";

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** Where a value stands in its text: `text.slice(start, end)` is it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface ParsedJson {
  readonly value: JsonValue;
  /** The elements, if the whole is an array. */
  readonly elements: readonly Span[];
}

/**
 * Parses a file that people edit and security rests on: RFC 8259, and a key that an object has twice is an
 * error, where `JSON.parse` would silently take the last. Errors are `bad_config` and say
 * `<file>: line 3, column 7: …`. A byte-order mark in front is skipped.
 */
export function parseStrictJson(text: string, file: string): ParsedJson {
  return new StrictJsonParser(text, file).parse();
}

/** More than any file of ours has, and far from the end of the stack. */
const maxDepth = 32;
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
  readonly #elements: Span[] = [];
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
    return { value, elements: this.#elements };
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
    this.#space();
    if (this.#take("]")) return values;
    for (;;) {
      this.#space();
      const start = this.#at;
      values.push(this.#value());
      if (this.#depth === 1) this.#elements.push({ start, end: this.#at });
      this.#space();
      if (this.#take("]")) return values;
      if (!this.#take(",")) this.#fail("expected ',' or ']'");
    }
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
      if (this.#take("}")) return object;
      if (!this.#take(",")) this.#fail("expected ',' or '}'");
    }
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
