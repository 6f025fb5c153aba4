import type { SpecifierSpan } from "../../manifest/import-scan.ts";

/** The namespace of plugins that a mark puts a specifier into. */
export const markNamespace = "veripy";

/**
 * The text with a mark on everything that it imports: `"./x"` becomes `"veripy:./x"`, and `import(name)` becomes
 * ``import(`veripy:${name}`)``. Bun does not ask its plugins about every specifier before it looks on the disk, but it
 * always asks about one with a namespace. Line numbers stay the same; columns change only after a mark.
 */
export function markSpecifiers(text: string, specifiers: readonly SpecifierSpan[]): string {
  const inserts = specifiers.flatMap(({ start, end, isStatic }): Insert[] =>
    isStatic
      ? [{ at: start + 1, text: `${markNamespace}:` }]
      : [
          { at: start, text: `\`${markNamespace}:\${` },
          { at: end, text: "}`" },
        ],
  );
  let result = "";
  let copied = 0;
  // Specifiers can stand inside one another: `import(await import(…))`.
  for (const insert of inserts.sort((a, b) => a.at - b.at)) {
    result += text.slice(copied, insert.at) + insert.text;
    copied = insert.at;
  }
  return result + text.slice(copied);
}

interface Insert {
  readonly at: number;
  readonly text: string;
}
