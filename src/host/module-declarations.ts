import { version } from "../base/version.ts";
// TypeScript sees modules here, the bundler their texts.
// @ts-expect-error
import declaredText from "../manifest/declared.ts" with { type: "text" };
// @ts-expect-error
import apiText from "./api.ts" with { type: "text" };

/**
 * What an editor needs to check a module where VeriPy is not installed as a package: the text of `veripy.d.ts`, which
 * declares what `import type … from "veripy"` means in a module. It is the text of `api.ts` and of what it takes from
 * `declared.ts`, so they cannot differ.
 */
export function moduleDeclarations(): string {
  const [api, declared] = [apiText, declaredText].map((text) =>
    (text as unknown as string)
      .replaceAll(/^(?:(?:import|export) type \{[^}]*\} from .*;|\/\/ .*)\n+/gm, "")
      .trimEnd()
      .replaceAll(/^(?=.)/gm, "  "),
  );
  return `// The types of modules, from veripy-server ${version}. Update it with: veripy-server types > veripy.d.ts
declare module "veripy" {
${api}

${declared}
}
`;
}
