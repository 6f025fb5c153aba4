/** Modules for tests of limits and faults, by file name. */
export const testModules = {
  /** Returns its arguments. */
  "echo.ts": `export const execute = (args: string) => args;\n`,
  /** Waits for the number of milliseconds in its arguments, or until it is aborted, which it logs. */
  "wait.ts": `import type { ModuleContext } from "veripy";
export function execute(args: string, { signal, log, ref }: ModuleContext): Promise<string> {
  log.info(\`\${ref} waits\`);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(args), Number(args));
    signal.addEventListener("abort", () => {
      log.info(\`\${ref} aborted\`);
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
`,
  /** Returns as many bytes as its arguments say. */
  "big.ts": `export const execute = (args: string) => "x".repeat(Number(args));\n`,
  /** Streams parts; the arguments are their number and their size, "parts size". */
  "stream.ts": `export async function* execute(args: string) {
  const [parts = 0, size = 1] = args.split(" ").map(Number);
  for (let part = 0; part < parts; part++) yield "x".repeat(size);
}
`,
};
