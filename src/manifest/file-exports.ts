import type { SyntaxNode } from "./parse-source.ts";

/** What a name that a file exports stands for, as far as its text tells. */
export type ExportedName =
  /** `export const x = …`: the expression behind it. */
  | { readonly kind: "constant"; readonly value: SyntaxNode; readonly at: number }
  /** Declared here in some other way, named in `what`: `a function`, `a class`, `a variable that can change`, … */
  | { readonly kind: "declared"; readonly what: string; readonly at: number }
  /** Imported from `specifier`, as `name`; `*` is the whole namespace. */
  | { readonly kind: "imported"; readonly specifier: string; readonly name: string; readonly at: number };

/** The names that one file exports. */
export interface FileExports {
  readonly names: ReadonlyMap<string, ExportedName>;
  /** The files and built-ins of each `export * from "…"`. */
  readonly stars: readonly { readonly specifier: string; readonly at: number }[];
}

/** Reads the exports of a parsed file. What exists for the type checker only is left out. */
export function fileExports(program: SyntaxNode): FileExports {
  const declared = new Map<string, ExportedName>();
  const names = new Map<string, ExportedName>();
  const stars: { specifier: string; at: number }[] = [];
  const body = program.body as SyntaxNode[];
  for (const statement of body) {
    const isExport = statement.type === "ExportNamedDeclaration";
    const declaration = isExport ? (statement.declaration as SyntaxNode | null) : statement;
    for (const [name, entry] of declaration === null ? [] : declarationsOf(declaration)) {
      declared.set(name, entry);
      if (isExport && statement.exportKind !== "type") names.set(name, entry);
    }
  }
  // Second, since a name may be exported above its declaration.
  for (const statement of body) {
    if (statement.exportKind === "type") continue;
    if (statement.type === "ExportDefaultDeclaration") {
      names.set("default", {
        kind: "constant",
        value: statement.declaration as SyntaxNode,
        at: statement.start,
      });
    } else if (statement.type === "ExportAllDeclaration") {
      const specifier = textOf(statement.source);
      if (statement.exported) {
        const name = textOf(statement.exported);
        names.set(name, { kind: "imported", specifier, name: "*", at: statement.start });
      } else stars.push({ specifier, at: statement.start });
    } else if (statement.type === "ExportNamedDeclaration") {
      for (const each of (statement.specifiers ?? []) as SyntaxNode[]) {
        if (each.exportKind === "type") continue;
        const local = textOf(each.local);
        const entry: ExportedName | undefined = statement.source
          ? { kind: "imported", specifier: textOf(statement.source), name: local, at: each.start }
          : declared.get(local);
        // A name that only types have is erased.
        if (entry !== undefined) names.set(textOf(each.exported), entry);
      }
    }
  }
  return { names, stars };
}

function declarationsOf(node: SyntaxNode): [name: string, entry: ExportedName][] {
  if (node.declare === true || node.importKind === "type") return [];
  switch (node.type) {
    case "VariableDeclaration":
      return (node.declarations as SyntaxNode[]).flatMap((each) => variablesOf(each, node.kind === "const"));
    case "ImportDeclaration": {
      const specifier = textOf(node.source);
      return (node.specifiers as SyntaxNode[]).flatMap((each): [string, ExportedName][] => {
        if (each.importKind === "type") return [];
        return [
          [textOf(each.local), { kind: "imported", specifier, name: importedName(each), at: each.start }],
        ];
      });
    }
    case "FunctionDeclaration":
      return [declaredAs(node, "a function")];
    case "ClassDeclaration":
      return [declaredAs(node, "a class")];
    case "TSEnumDeclaration":
      return [declaredAs(node, "an enum")];
    case "TSModuleDeclaration":
      return [declaredAs(node, "a namespace")];
    case "TSImportEqualsDeclaration":
      return [declaredAs(node, "an import by 'import … = …'")];
    default:
      return [];
  }
}

function variablesOf(declarator: SyntaxNode, isConstant: boolean): [string, ExportedName][] {
  const id = declarator.id as SyntaxNode;
  if (id.type !== "Identifier") {
    return boundNames(id).map((name) => [
      name,
      { kind: "declared", what: "a part of a destructured value", at: id.start },
    ]);
  }
  const value = declarator.init as SyntaxNode | null;
  if (isConstant && value !== null) return [[textOf(id), { kind: "constant", value, at: id.start }]];
  return [[textOf(id), { kind: "declared", what: "a variable that can change", at: id.start }]];
}

function declaredAs(node: SyntaxNode, what: string): [string, ExportedName] {
  return [textOf(node.id), { kind: "declared", what, at: node.start }];
}

/** The names that a destructuring pattern binds. */
function boundNames(pattern: SyntaxNode | null): string[] {
  switch (pattern?.type) {
    case "Identifier":
      return [textOf(pattern)];
    case "ObjectPattern":
      return (pattern.properties as SyntaxNode[]).flatMap((each) =>
        boundNames((each.type === "RestElement" ? each.argument : each.value) as SyntaxNode),
      );
    case "ArrayPattern":
      return (pattern.elements as (SyntaxNode | null)[]).flatMap(boundNames);
    case "AssignmentPattern":
      return boundNames(pattern.left as SyntaxNode);
    case "RestElement":
      return boundNames(pattern.argument as SyntaxNode);
    default:
      return [];
  }
}

function importedName(specifier: SyntaxNode): string {
  if (specifier.type === "ImportDefaultSpecifier") return "default";
  return specifier.type === "ImportNamespaceSpecifier" ? "*" : textOf(specifier.imported);
}

/** Of an identifier, its name; of a string literal, its value. */
function textOf(node: unknown): string {
  const { name, value } = node as SyntaxNode;
  return String(name ?? value);
}
