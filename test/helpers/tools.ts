import { join } from "node:path";

/** Programs that some tests need; undefined if this machine lacks them. */
export const python = Bun.which("python3") ?? undefined;
export const openssl = Bun.which("openssl") ?? undefined;

/** The command line of a Python program in `test/e2e/fixtures`. */
export function pythonFixture(name: string, ...args: string[]): string[] {
  return [python ?? "python3", "-u", join(import.meta.dir, "../e2e/fixtures", name), ...args];
}

/** Parses every line as a JSON object. Throws an error that shows a line that is not JSON. */
export function jsonLines(text: string): Array<Record<string, unknown>> {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      try {
        return JSON.parse(line) as Record<string, unknown>;
      } catch {
        throw new Error(`Not a line of JSON: ${line}`);
      }
    });
}

/** The digest by the runtime's implementation, which is not the one that VeriPy uses. */
export function sha256(data: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(data).digest("hex");
}

/** `sha256sum PATH… | sha256sum`, for files given as path and content. A path with a line break is escaped, as there. */
export function treeOf(files: Record<string, string | Uint8Array>): string {
  const line = (path: string) => {
    const digest = sha256(files[path] ?? "");
    return path.includes("\n") ? `\\${digest}  ${path.replaceAll("\n", "\\n")}\n` : `${digest}  ${path}\n`;
  };
  return sha256(Object.keys(files).sort().map(line).join(""));
}
