import { messageOf, VeripyError } from "../index.ts";

const maxBytes = 16 * 1024 * 1024;

/** The text of a file, or of standard input for `-`. Throws `bad_config` when it cannot be read or is too large. */
export async function readText(file: string): Promise<string> {
  const source = file === "-" ? Bun.stdin : Bun.file(file);
  try {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of source.stream()) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw new Error(`it has more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    const name = file === "-" ? "standard input" : file;
    throw new VeripyError("bad_config", `Cannot read ${name}: ${messageOf(error)}.`, { cause: error });
  }
}
