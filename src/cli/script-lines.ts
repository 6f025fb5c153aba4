import { reasonOf, VeripyError } from "../index.ts";

/** As much as a module's arguments from standard input may have. */
const maxLineLength = 16 * 1024 * 1024;

/** The lines of standard input as they come, each with its number from 1. Throws `bad_config` for one that is too long. */
export async function* scriptLines(): AsyncGenerator<[number: number, line: string]> {
  let number = 0;
  let rest = "";
  for await (const piece of decoded()) {
    const lines = `${rest}${piece}`.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > maxLineLength)
      throw new VeripyError(
        "bad_config",
        `Cannot run line ${number + lines.length + 1}: it is longer than ${maxLineLength} characters.`,
      );
    for (const line of lines) yield [++number, line.replace(/\r$/, "")];
  }
  if (rest !== "") yield [++number, rest];
}

async function* decoded(): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const bytes of Bun.stdin.stream()) yield decoder.decode(bytes, { stream: true });
    yield decoder.decode();
  } catch (error) {
    throw new VeripyError("bad_config", `Cannot read the script: ${reasonOf(error)}.`, { cause: error });
  }
}
