import type { SyntaxNode } from "./parse-source.ts";

/** A value that JSON can carry. */
export type LiteralValue =
  | string
  | number
  | boolean
  | null
  | readonly LiteralValue[]
  | { readonly [key: string]: LiteralValue };

/** Thrown by `literalValue`. The message continues "'description' ". */
export class NotLiteralError extends Error {
  /** An offset into the text. */
  readonly at: number;
  /** It is written as a literal, but is not a valid one. */
  readonly isFault: boolean;

  constructor(at: number, message: string, isFault = false) {
    super(message);
    this.at = at;
    this.isFault = isFault;
  }
}

/** What a literal is, for messages. */
export const literalsAre =
  "a string, a template without expressions, a number, true, false, null, or an array or plain object of these";

const maxDepth = 100;

/**
 * The value of an expression that says all of itself: what `literalsAre` lists, a leading minus, and `as const`,
 * `satisfies` and type assertions around any of it. Nothing is evaluated. Throws `NotLiteralError` with the place of
 * the first part that is anything else, for a key that is given twice, and for `__proto__`, which is no key to JavaScript.
 */
export function literalValue(expression: SyntaxNode): LiteralValue {
  const read = (node: SyntaxNode, depth: number): LiteralValue => {
    if (depth > maxDepth) throw fault(node, `nests deeper than ${maxDepth} levels, the limit`);
    const inner = withoutTypes(node);
    switch (inner.type) {
      case "Literal":
        return scalar(inner);
      case "TemplateLiteral":
        return template(inner);
      case "UnaryExpression":
        return negative(inner);
      case "ArrayExpression":
        return (inner.elements as (SyntaxNode | null)[]).map((element) => {
          if (element === null) throw fault(inner, "has an array with a hole");
          return read(element, depth + 1);
        });
      case "ObjectExpression": {
        const entries = new Map<string, LiteralValue>();
        for (const property of inner.properties as SyntaxNode[]) {
          const key = keyOf(property);
          if (entries.has(key)) throw fault(property, `has the key '${key}' twice`);
          entries.set(key, read(property.value as SyntaxNode, depth + 1));
        }
        return Object.fromEntries(entries);
      }
      default:
        throw notLiteral(inner);
    }
  };
  return read(expression, 0);
}

/**
 * The part of a literal that has this path of keys and indexes, for the place of an error; the closest part around it
 * when there is none.
 */
export function literalPart(expression: SyntaxNode, path: readonly PropertyKey[]): SyntaxNode {
  let node = withoutTypes(expression);
  for (const key of path) {
    let next: SyntaxNode | null | undefined;
    if (node.type === "ArrayExpression") next = (node.elements as SyntaxNode[])[Number(key)];
    else if (node.type === "ObjectExpression")
      next = (node.properties as SyntaxNode[]).find((property) => keyOf(property) === key)
        ?.value as SyntaxNode;
    if (next === undefined || next === null) return node;
    node = withoutTypes(next);
  }
  return node;
}

function withoutTypes(node: SyntaxNode): SyntaxNode {
  let inner = node;
  while (/^(TS\w+Expression|TSTypeAssertion|ParenthesizedExpression)$/.test(inner.type))
    inner = inner.expression as SyntaxNode;
  return inner;
}

function scalar(node: SyntaxNode): LiteralValue {
  const { value, bigint, regex } = node;
  if (bigint !== undefined || regex !== undefined) throw notLiteral(node);
  if (typeof value === "number" && !Number.isFinite(value)) throw notLiteral(node);
  return value as LiteralValue;
}

function template(node: SyntaxNode): string {
  const [only, ...others] = node.quasis as { readonly value: { readonly cooked: string } }[];
  if (only === undefined || others.length > 0) throw notLiteral(node);
  return only.value.cooked;
}

function negative(node: SyntaxNode): number {
  const operand = withoutTypes(node.argument as SyntaxNode);
  const value = node.operator === "-" && operand.type === "Literal" ? scalar(operand) : undefined;
  if (typeof value !== "number") throw notLiteral(node);
  return -value;
}

function keyOf(property: SyntaxNode): string {
  const isPlain =
    property.type === "Property" &&
    property.kind === "init" &&
    property.computed !== true &&
    property.method !== true &&
    property.shorthand !== true;
  if (!isPlain) throw notLiteral(property);
  const { name, value } = property.key as SyntaxNode;
  const key = String(name ?? value);
  if (key === "__proto__")
    throw fault(property, "has the key '__proto__', which JavaScript takes for no key");
  return key;
}

function fault(node: SyntaxNode, message: string): NotLiteralError {
  return new NotLiteralError(node.start, message, true);
}

function notLiteral(node: SyntaxNode): NotLiteralError {
  return new NotLiteralError(node.start, `must be a literal: ${literalsAre}`);
}
