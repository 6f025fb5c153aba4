import { tsPlugin } from "@sveltejs/acorn-typescript";
import { Parser } from "acorn";
import { messageOf, VeripyError } from "../base/errors.ts";
import { boundedParser } from "./bounded-parser.ts";

/** A node of the syntax tree (ESTree, and `TS…` for what TypeScript adds). What else it has depends on `type`. */
export interface SyntaxNode {
  readonly type: string;
  /** Offsets into the text, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/**
 * Parses a `.ts` or `.js` file of a module as it stands; nothing is transpiled, folded or run. A `#!` line and a
 * byte-order mark keep every offset. Throws `bad_module` with `path:line:column` for a text that is not one.
 */
export function parseSource(path: string, content: string): SyntaxNode {
  const parser = path.endsWith(".ts") ? TypeScriptParser : JavaScriptParser;
  try {
    // The TypeScript plugin looks ahead by way of locations.
    return parser.parse(content, {
      ecmaVersion: "latest",
      sourceType: "module",
      locations: true,
    }) as unknown as SyntaxNode;
  } catch (error) {
    const { pos } = error as { pos?: number };
    const place = pos === undefined ? path : placeOf(path, content, pos);
    throw new VeripyError("bad_module", `${place}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** `lib/x.ts:3:14` for an offset into that file's text; lines and columns count from 1. */
export function placeOf(path: string, content: string, offset: number): string {
  const before = content.slice(0, offset).split(/\r\n|[\n\r\u2028\u2029]/);
  return `${path}:${before.length}:${(before.at(-1) ?? "").length + 1}`;
}

/** What acorn lets a plugin override; its types leave it out. */
export interface ParserInternals {
  readonly input: string;
  /** Of the current token. */
  readonly start: number;
  readonly end: number;
  raise(offset: number, message: string): never;
  raiseRecoverable(offset: number, message: string): never;
  unexpected(offset?: number): never;
  parseIdentNode(): unknown;
  parseDynamicImport(node: unknown): unknown;
}
interface TypeScriptInternals extends ParserInternals {
  /** Where the function at hand has its last `yield` or `await`; 0 for none. */
  yieldPos: number;
  awaitPos: number;
  awaitIdentPos: number;
  readonly tsParseConstModifier: unknown;
  tsParseTypeParameters(parseModifiers?: unknown): unknown;
  tsTryParseGenericAsyncArrowFunction(...place: unknown[]): unknown;
}
type Extensible<Internals> = new () => Internals;

/** acorn says only that a token is unexpected. */
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

/** What TypeScript and Bun accept and the plugin does not. */
function completeTypeScript(base: typeof Parser): typeof Parser {
  const { parseDynamicImport } = Parser.prototype as unknown as ParserInternals;
  class CompleteTypeScript extends (base as unknown as Extensible<TypeScriptInternals>) {
    /** `import(x,)`. As acorn itself, this also calls the second argument `options`. */
    override parseDynamicImport(node: unknown): unknown {
      return parseDynamicImport.call(this, node);
    }

    /** `<const T>` in an interface or a function type. */
    override tsParseTypeParameters(parseModifiers = this.tsParseConstModifier): unknown {
      return super.tsParseTypeParameters(parseModifiers);
    }

    /** `async <T>() => …` after an `await`, which is taken for one in its parameters. */
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
