import { version } from "../base/version.ts";
// TypeScript sees a module here, the bundler its text.
// @ts-expect-error
import apiText from "./api.ts" with { type: "text" };

/**
 * What an editor needs to check a module where VeriPy is not installed as a package: the text of `veripy.d.ts`, which
 * declares what `import type … from "veripy"` means in a module. It is the text of `api.ts`, so the two cannot differ.
 */
export function moduleDeclarations(): string {
  const declared = (apiText as unknown as string).trimEnd().replaceAll(/^(?=.)/gm, "  ");
  return `// The types of modules, from veripy-server ${version}. Update it with: veripy-server types > veripy.d.ts
declare module "veripy" {
${declared}
}
`;
}
