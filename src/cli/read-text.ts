import { reasonOf, VeripyError } from "../index.ts";

const maxBytes = 16 * 1024 * 1024;

/** The text of a file, or of standard input for `-`. Throws `bad_config` when it cannot be read or is too large. */
export async function readText(file: string): Promise<string> {
  const name = file === "-" ? "standard input" : file;
  const bytes = await readBytes(name, file === "-" ? Bun.stdin : Bun.file(file));
  return decoded(
    new TextDecoder("utf-8", { fatal: true }),
    bytes,
    `Cannot read ${name}: it is not UTF-8 text.`,
  );
}

/** Everything on standard input, unchanged, as a module's arguments. Throws `bad_config` if it is not UTF-8. */
export async function readArguments(): Promise<string> {
  const bytes = await readBytes("standard input", Bun.stdin);
  return decoded(
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }),
    bytes,
    "Cannot send standard input: it is binary data, but modules take UTF-8 text. Encode it first, for example with base64.",
  );
}

async function readBytes(name: string, source: Bun.BunFile): Promise<Uint8Array> {
  try {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of source.stream()) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot read ${name}: ${reasonOf(error)}.`, { cause: error });
  }
}

function decoded(decoder: TextDecoder, bytes: Uint8Array, failure: string): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new VeripyError("bad_config", failure, { cause: error });
  }
}
