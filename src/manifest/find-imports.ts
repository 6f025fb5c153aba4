import type { SyntaxNode } from "./parse-source.ts";

/** One place where a file imports. */
export interface FoundImport {
  /** `static`: an import or re-export. `require`: a call with a literal, or TypeScript's `import x = require("./x")`. */
  readonly form: "static" | "dynamic" | "require";
  /** Of the specifier: a string literal with its quotes, or the whole expression in `import(…)`. */
  readonly start: number;
  readonly end: number;
  /** Undefined when the specifier is computed. */
  readonly literal: string | undefined;
  readonly attributes: "none" | "json" | "other";
  /** True if TypeScript removes it: an import of types only, or one in a declaration. */
  readonly isErased: boolean;
}

/** Finds the imports of a file, in the order of its text. */
export function findImports(program: SyntaxNode): FoundImport[] {
  const found: FoundImport[] = [];
  // Not recursive: a syntax tree can be deeper than the call stack, `a.b().b().b()…` for one.
  const pending = [{ node: program, isErased: false }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { node } = next;
    const isErased = next.isErased || node.declare === true;
    const here = importAt(node, isErased);
    if (here !== undefined) found.push(here);
    for (const field in node) {
      const value = node[field];
      if (isNode(value)) pending.push({ node: value, isErased });
      else if (Array.isArray(value))
        for (const each of value) if (isNode(each)) pending.push({ node: each, isErased });
    }
  }
  return found.sort((a, b) => a.start - b.start);
}

function importAt(node: SyntaxNode, isErased: boolean): FoundImport | undefined {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportNamedDeclaration":
    case "ExportAllDeclaration":
      if (!isNode(node.source)) return undefined;
      return {
        form: "static",
        ...specifierOf(node.source),
        attributes: attributesOf(node.attributes),
        isErased: isErased || isOfTypes(node),
      };
    case "ImportExpression":
      return {
        form: "dynamic",
        ...specifierOf(node.source as SyntaxNode),
        attributes: optionsOf(node.options),
        isErased,
      };
    case "TSImportEqualsDeclaration": {
      const { expression } = node.moduleReference as SyntaxNode;
      // Otherwise it is an alias within a namespace: `import x = y.z`.
      if (!isNode(expression)) return undefined;
      return {
        form: "require",
        ...specifierOf(expression),
        attributes: "none",
        isErased: isErased || node.importKind === "type",
      };
    }
    case "CallExpression": {
      const [specifier, ...others] = node.arguments as SyntaxNode[];
      if ((node.callee as SyntaxNode).name !== "require" || specifier === undefined || others.length > 0)
        return undefined;
      const call = specifierOf(specifier);
      if (call.literal === undefined) return undefined;
      return { form: "require", ...call, attributes: "none", isErased };
    }
    default:
      return undefined;
  }
}

function specifierOf(node: SyntaxNode): Pick<FoundImport, "start" | "end" | "literal"> {
  return { start: node.start, end: node.end, literal: literalOf(node) };
}

function literalOf(node: SyntaxNode): string | undefined {
  let inner = node;
  // `"./x" as string`, `"./x"!`, and so on
  while (inner.type.startsWith("TS") && isNode(inner.expression)) inner = inner.expression;
  if (inner.type === "Literal" && typeof inner.value === "string") return inner.value;
  if (inner.type !== "TemplateLiteral") return undefined;
  const [quasi, ...others] = inner.quasis as { readonly value: { readonly cooked?: string } }[];
  return others.length === 0 ? quasi?.value.cooked : undefined;
}

/** `import type …`, or every name with a `type` of its own. */
function isOfTypes(node: SyntaxNode): boolean {
  if (node.importKind === "type" || node.exportKind === "type") return true;
  const names = (node.specifiers ?? []) as SyntaxNode[];
  return names.length > 0 && names.every((name) => name.importKind === "type" || name.exportKind === "type");
}

function attributesOf(attributes: unknown): FoundImport["attributes"] {
  const [only, ...others] = (attributes ?? []) as SyntaxNode[];
  if (only === undefined) return "none";
  return others.length === 0 && isJsonType(only) ? "json" : "other";
}

/** The second argument of `import()`. */
function optionsOf(options: unknown): FoundImport["attributes"] {
  if (!isNode(options)) return "none";
  const attributes = soleProperty(options);
  if (attributes === undefined || !hasKey(attributes, "with") || !isNode(attributes.value)) return "other";
  const type = soleProperty(attributes.value);
  return type !== undefined && isJsonType(type) ? "json" : "other";
}

function soleProperty(object: SyntaxNode): SyntaxNode | undefined {
  const [only, ...others] = (object.properties ?? []) as SyntaxNode[];
  return others.length === 0 && only?.type === "Property" ? only : undefined;
}

function isJsonType(property: SyntaxNode): boolean {
  return hasKey(property, "type") && isNode(property.value) && literalOf(property.value) === "json";
}

function hasKey(property: SyntaxNode, name: string): boolean {
  const key = property.key as SyntaxNode;
  return property.computed !== true && (key.name === name || key.value === name);
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && typeof (value as SyntaxNode).type === "string";
}
