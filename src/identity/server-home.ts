import { VeripyError } from "../base/errors.ts";
import { isThere } from "../base/files.ts";
import { identityFiles } from "./identity.ts";
import { identityError } from "./identity-error.ts";

/**
 * Throws `bad_config` where no server lives: without a server's key or a trust file. For commands that would otherwise
 * leave files behind in a folder that is none of a server's.
 */
export async function refuseWithoutServer(certsDir: string, trustedKeysPath: string): Promise<void> {
  for (const path of [identityFiles(certsDir, "server").key, trustedKeysPath]) {
    const exists = await isThere(path).catch((error) => {
      throw identityError(`Cannot read ${path}`, error);
    });
    if (exists) continue;
    throw new VeripyError(
      "bad_config",
      `No server lives here: there is no ${path}. If one should, run 'veripy-server init' first; ` +
        "if its files are elsewhere, name them with --certs and --trusted-keys.",
    );
  }
}
