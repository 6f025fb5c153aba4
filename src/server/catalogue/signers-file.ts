import { VeripyError } from "../../base/errors.ts";
import { readFileBounded } from "../../base/files.ts";
import { reasonOf } from "../../base/plain-reason.ts";
import { decodeUtf8 } from "../../base/utf8.ts";
import { type AllowedSigner, maxSignersBytes, parseAllowedSigners } from "../../catalogue/allowed-signers.ts";

/** Reads an `allowed_signers` file. Throws `bad_config`, with the line of a mistake. */
export async function readSigners(path: string): Promise<AllowedSigner[]> {
  let text: string;
  try {
    text = decodeUtf8(await readFileBounded(path, maxSignersBytes));
  } catch (error) {
    if (error instanceof VeripyError) throw error;
    const why = error instanceof TypeError ? "it is not UTF-8 text" : reasonOf(error);
    throw new VeripyError("bad_config", `Cannot read the allowed signers ${path}: ${why}.`, { cause: error });
  }
  return parseAllowedSigners(text, path);
}
