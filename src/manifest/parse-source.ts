import { tsPlugin } from "@sveltejs/acorn-typescript";
import { Parser } from "acorn";
import { messageOf, VeripyError } from "../base/errors.ts";
import { boundedParser } from "./bounded-parser.ts";
import type { Extensible, ParserInternals } from "./parser-internals.ts";

/** A node of the syntax tree: ESTree, and `TS…` for TypeScript. Its other fields depend on `type`. */
export interface SyntaxNode {
  readonly type: string;
  /** Offsets into the text, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/**
 * Parses a `.ts` or `.js` file of a module as it is; nothing is transpiled, folded or run. Offsets count a `#!` line
 * and a byte-order mark. Throws `bad_module` with `path:line:column` for a syntax error, and for a text past the
 * bounds of `boundedParser`.
 */
export function parseSource(path: string, content: string): SyntaxNode {
  const parser = path.endsWith(".ts") ? TypeScriptParser : JavaScriptParser;
  try {
    return parser.parse(content, {
      ecmaVersion: "latest",
      sourceType: "module",
      // The TypeScript plugin needs them to look ahead; a third of the time of a .js file went to them.
      locations: parser === TypeScriptParser,
    }) as unknown as SyntaxNode;
  } catch (error) {
    throw syntaxError(path, content, error);
  }
}

function syntaxError(path: string, content: string, error: unknown): VeripyError {
  const { pos } = error as { pos?: number };
  const place = pos === undefined ? path : placeOf(path, content, pos);
  return new VeripyError("bad_module", `${place}: ${messageOf(error)}`, { cause: error });
}

/** The one expression of a JSON text. Throws `bad_module` for a text past the bounds of `boundedParser`. */
export function parseJsonExpression(path: string, content: string): SyntaxNode {
  try {
    return JavaScriptParser.parseExpressionAt(content, 0, { ecmaVersion: "latest" }) as unknown as SyntaxNode;
  } catch (error) {
    throw syntaxError(path, content, error);
  }
}

/** `lib/x.ts:3:14` for an offset into that file's text; lines and columns count from 1. */
export function placeOf(path: string, content: string, offset: number): string {
  const before = content.slice(0, offset).split(/\r\n|[\n\r\u2028\u2029]/);
  return `${path}:${before.length}:${(before.at(-1) ?? "").length + 1}`;
}

interface TypeScriptInternals extends ParserInternals {
  /** Where the current function has its last `yield` or `await`; 0 for none. */
  yieldPos: number;
  awaitPos: number;
  awaitIdentPos: number;
  readonly tsParseConstModifier: unknown;
  tsParseTypeParameters(parseModifiers?: unknown): unknown;
  tsTryParseGenericAsyncArrowFunction(...place: unknown[]): unknown;
}

/** Names the unexpected token, which acorn does not. */
function clearerErrors(base: typeof Parser): typeof Parser {
  class ClearerErrors extends (base as unknown as Extensible<ParserInternals>) {
    #wantsIdentifier = false;

    override parseIdentNode(): unknown {
      this.#wantsIdentifier = true;
      try {
        return super.parseIdentNode();
      } finally {
        this.#wantsIdentifier = false;
      }
    }

    override unexpected(offset = this.start): never {
      const end = offset === this.start ? this.end : offset + 1;
      const token = this.input.slice(offset, Math.min(end, offset + 40)) || "end of file";
      const problem = this.#wantsIdentifier ? "Expected identifier but found" : "Unexpected";
      this.raise(offset, `${problem} ${token}`);
    }
  }
  return ClearerErrors as unknown as typeof Parser;
}

/** Accepts what TypeScript and Bun accept and the plugin refuses. */
function completeTypeScript(base: typeof Parser): typeof Parser {
  const { parseDynamicImport } = Parser.prototype as unknown as ParserInternals;
  class CompleteTypeScript extends (base as unknown as Extensible<TypeScriptInternals>) {
    /** `import(x,)`. Also names the second argument `options`, as acorn does. */
    override parseDynamicImport(node: unknown): unknown {
      return parseDynamicImport.call(this, node);
    }

    /** `<const T>` in an interface or a function type. */
    override tsParseTypeParameters(parseModifiers = this.tsParseConstModifier): unknown {
      return super.tsParseTypeParameters(parseModifiers);
    }

    /** `async <T>() => …` after an `await`, which the plugin mistakes for one in the parameters. */
    override tsTryParseGenericAsyncArrowFunction(...place: unknown[]): unknown {
      const { yieldPos, awaitPos, awaitIdentPos } = this;
      Object.assign(this, { yieldPos: 0, awaitPos: 0, awaitIdentPos: 0 });
      try {
        return super.tsTryParseGenericAsyncArrowFunction(...place);
      } finally {
        Object.assign(this, { yieldPos, awaitPos, awaitIdentPos });
      }
    }
  }
  return CompleteTypeScript as unknown as typeof Parser;
}

const JavaScriptParser = Parser.extend(clearerErrors, boundedParser);
const TypeScriptParser = Parser.extend(tsPlugin(), completeTypeScript, clearerErrors, boundedParser);
