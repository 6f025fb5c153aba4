import type { Extensible, ParserInternals } from "./parser-internals.ts";

/**
 * The parser guesses what an ambiguous text means and reads it again when the guess was wrong; nested guesses double
 * the time with each level. So it may read this many times the length of the text (real code takes less than 1.5),
 * or `freeCharacters` if that is more.
 */
const maxReadings = 4;
const freeCharacters = 32 * 1024;

/**
 * Words and signs read, those read again included. The server parses on the thread that answers its clients: these take
 * it about a quarter of a second. They are 400 KB of ordinary code, or 200 KB of dense code.
 */
const maxTokens = 100_000;

/** Statements, expressions and types inside each other. The stack holds about twice as many. */
const maxNesting = 1_500;

/** In one scope. Each new name is compared with all names before it. */
const maxNames = 5_000;
/** In one regular expression, for the same reason. */
const maxNamedGroups = 200;

interface BoundedInternals extends ParserInternals {
  /** Where the tokenizer stands. */
  readonly pos: number;
  nextToken(): void;
  currentScope(): Readonly<Record<"var" | "lexical" | "functions", readonly string[]>>;
  declareName(name: string, kind: number, offset: number): void;
  validateRegExpPattern(state: { readonly source: string; readonly start: number }): void;
  parseStatement(...rest: unknown[]): unknown;
  parseMaybeAssign(...rest: unknown[]): unknown;
  parseMaybeUnary(...rest: unknown[]): unknown;
  parseBindingAtom(...rest: unknown[]): unknown;
  tsParseType(...rest: unknown[]): unknown;
  tsParseTypeOperatorOrHigher(...rest: unknown[]): unknown;
}

/**
 * An acorn plugin that bounds the time and the depth of a parse by counting, never by the clock: every machine must come to the same
 * result for the same text. Past a bound the parser throws an error with a `pos`, as for a syntax error.
 */
export function boundedParser<Base>(base: Base): Base {
  class BoundedParser extends (base as unknown as Extensible<BoundedInternals>) {
    #charactersRead = 0;
    #tokensRead = 0;
    #nesting = 0;

    override nextToken(): void {
      const before = this.pos;
      super.nextToken();
      this.#charactersRead += this.pos - before;
      this.#tokensRead += 1;
      if (this.#tokensRead > maxTokens)
        throw limitError(
          this.start,
          `Too much code in one file: the limit is ${maxTokens} words and signs. Split it up, or keep data in a .json file`,
        );
      if (this.#charactersRead > freeCharacters && this.#charactersRead > maxReadings * this.input.length)
        throw limitError(this.start, "Too ambiguous to parse: simplify this code or split it up");
    }

    // acorn's own looks for line and column from the start of the text, at every wrong guess.
    override raise(offset: number, message: string): never {
      throw Object.assign(new SyntaxError(message), { pos: offset });
    }

    override raiseRecoverable(offset: number, message: string): never {
      this.raise(offset, message);
    }

    override declareName(name: string, kind: number, offset: number): void {
      const scope = this.currentScope();
      if (scope.var.length + scope.lexical.length + scope.functions.length >= maxNames)
        throw limitError(offset, `Too many names in one scope: the limit is ${maxNames}`);
      super.declareName(name, kind, offset);
    }

    override validateRegExpPattern(state: { readonly source: string; readonly start: number }): void {
      if (state.source.split("(?<").length > maxNamedGroups + 1)
        throw limitError(
          this.start,
          `Too many named groups in a regular expression: the limit is ${maxNamedGroups}`,
        );
      super.validateRegExpPattern(state);
    }

    override parseStatement(...rest: unknown[]): unknown {
      return this.#nested(() => super.parseStatement(...rest));
    }

    override parseMaybeAssign(...rest: unknown[]): unknown {
      return this.#nested(() => super.parseMaybeAssign(...rest));
    }

    override parseMaybeUnary(...rest: unknown[]): unknown {
      return this.#nested(() => super.parseMaybeUnary(...rest));
    }

    override parseBindingAtom(...rest: unknown[]): unknown {
      return this.#nested(() => super.parseBindingAtom(...rest));
    }

    override tsParseType(...rest: unknown[]): unknown {
      return this.#nested(() => super.tsParseType(...rest));
    }

    override tsParseTypeOperatorOrHigher(...rest: unknown[]): unknown {
      return this.#nested(() => super.tsParseTypeOperatorOrHigher(...rest));
    }

    #nested<Result>(parse: () => Result): Result {
      if (this.#nesting >= maxNesting) throw limitError(this.start, "Nested too deeply");
      this.#nesting += 1;
      try {
        return parse();
      } finally {
        this.#nesting -= 1;
      }
    }
  }
  return BoundedParser as unknown as Base;
}

/** Not a `SyntaxError`: the parser takes those for a failed attempt and carries on. */
function limitError(pos: number, message: string): RangeError {
  return Object.assign(new RangeError(message), { pos });
}
