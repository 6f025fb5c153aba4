export const soakModules: Record<string, string> = {
  "echo.ts": "export const execute = (args: string) => args;\n",
  "big.ts": `export const execute = (args: string) => "x".repeat(Number(args));\n`,
  "stream.ts": `export async function* execute(args: string) {
  for (let part = 0; part < Number(args); part++) yield "x".repeat(1_000);
}
`,
  "wait.ts": `import type { ModuleContext } from "veripy";
export const execute = (args: string, { signal }: ModuleContext) =>
  new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => resolve(args), Number(args));
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
`,
  "exits.ts": "export const execute = () => process.exit(3);\n",
  "spins.ts": "export function execute() { for (;;); }\n",
  "throws.ts": `export function execute(): string {
  setTimeout(() => { throw new Error("late"); }, 1);
  throw new Error("early");
}
`,
};

/** The module that is edited over and over; a broken one must leave the last good one in place. */
export function changingModule(edit: number): string {
  if (edit % 7 === 3) return `export const execute = () => "edit ${edit}"; {{{\n`;
  return `import { tail } from "./lib/tail.ts";
export const execute = () => "edit ${edit}" + tail;
`;
}
